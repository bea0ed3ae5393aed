//! Copies of requests: what arrives where, and that nobody waits for a copy. Copies go to v2, the requests to v1.

use std::sync::{Mutex, mpsc};

use crate::backend::Backend;
use crate::proxy::Spawn;
use crate::world::{APP, HTTP, WEB, World, eventually, ok, rules_of_web};

/// Everything goes to v1 and is copied to v2.
const COPIED: &str = "
  - route: [{destination: {host: web, subset: v1}}]
    rewrite: {uri: /changed}
    headers: {request: {set: {x-rule: seen}}}
    mirrors: [{destination: {host: web, subset: v2}}]
";
/// The same by the Gateway API; v2 is all that `far` has on another node, which nothing carries here.
const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: one, port: 80}}}]
    backendRefs: [{name: far, port: 80}]
";

/// Copies by how they ended.
fn copies(world: &World, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    world
        .proxy
        .metrics()
        .sum("weft_mirrored_requests_total", &[&label])
}

#[test]
fn a_copy_is_the_request_as_the_rule_has_made_it_but_for_its_host() {
    let world = World::routed(&rules_of_web(COPIED));
    let first = world.web();
    let copy = Backend::http(&world.v2, APP, |_| ok("nobody reads this"));
    let mut client = world.dial_to(WEB, HTTP);
    client
        .send("POST /a?b=c HTTP/1.1\r\nhost: web:80\r\ncontent-length: 5\r\nx-own: 1\r\n\r\nhello");
    assert_eq!(client.response().text(), "v1");
    client.send(
        "PUT /b HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-end: 1\r\n\r\n",
    );
    assert_eq!(client.response().text(), "v1");
    eventually("both copies arrive", || copy.hits() == 2);
    let mut seen = copy.seen();
    seen.sort_by_key(|seen| seen.head.clone());
    let [post, put] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(post.line(), "POST /changeda?b=c");
    assert_eq!(post.header("host"), Some("web-shadow:80"));
    assert_eq!(post.header("x-own"), Some("1"));
    assert_eq!(post.header("x-rule"), Some("seen"));
    assert_eq!(post.body, b"hello");
    assert_eq!(put.header("host"), Some("web-shadow"));
    assert_eq!(
        (&put.body[..], &put.trailers[..]),
        (&b"abcde"[..], "x-end: 1\r\n")
    );
    let ids = |list: &[crate::backend::Seen]| {
        let ids = list
            .iter()
            .map(|seen| seen.header("x-request-id").unwrap().to_owned());
        let mut ids: Vec<_> = ids.collect();
        ids.sort();
        ids
    };
    assert_eq!(
        ids(&seen),
        ids(&first.seen()),
        "a copy keeps its request's id"
    );
    eventually("both are counted", || copies(&world, "answered") == 2.0);
}

#[test]
fn a_copy_by_the_gateway_api_keeps_its_host_and_outlives_the_requests_failure() {
    let world = World::routed(GATEWAY);
    let copy = world.web();
    let mut client = world.dial_to(WEB, HTTP);
    assert_eq!(client.get("/x").status, 503, "nobody listens at far");
    eventually("the copy arrives", || copy.hits() == 1);
    let seen = copy.last();
    assert_eq!((seen.line(), seen.header("host")), ("GET /x", Some("one")));
}

#[test]
fn a_mirror_that_hangs_fails_or_closes_costs_the_request_nothing() {
    let world = World::routed(&rules_of_web(COPIED));
    let first = world.web();
    let mut client = world.dial_to(WEB, HTTP);
    // Nobody listens.
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "v1");
    }
    eventually("failures are counted", || copies(&world, "failed") == 20.0);
    // It reads the head and never answers; the client's next requests come on the same connection.
    let hangs = Backend::raw(&world.v2, APP, |mut conn| {
        conn.head()?;
        conn.drained();
        Ok(())
    });
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "v1");
    }
    eventually("all copies arrive", || hangs.hits() == 20);
    drop(hangs);
    eventually("a close is a failure", || copies(&world, "failed") == 40.0);
    assert_eq!(first.hits(), 40);
}

#[test]
fn a_copy_that_lags_too_far_behind_is_cut_and_the_upload_goes_on() {
    let world = World::routed(&rules_of_web(COPIED));
    let first = Backend::http(&world.v1, APP, |seen| ok(&seen.body.len().to_string()));
    // It takes the head and then reads no more until the test has ended.
    let (_over, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let slow = Backend::raw(&world.v2, APP, move |mut conn| {
        conn.head()?;
        let _ = ended.lock().map(|ended| ended.recv());
        Ok(())
    });
    // More than the bound and all the kernel's buffers together.
    let length = 32 * 1024 * 1024;
    let mut client = world.dial_to(WEB, HTTP);
    client.send(format!(
        "POST /up HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n"
    ));
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..length / piece.len() {
        client.send(&piece);
    }
    assert_eq!(client.response().text(), length.to_string());
    assert_eq!((first.hits(), slow.hits()), (1, 1));
    eventually("the copy is cut", || copies(&world, "cut") == 1.0);
}

#[test]
fn a_body_that_breaks_breaks_its_copy_too() {
    let world = World::routed(&rules_of_web(COPIED));
    let _first = world.web();
    let copy = Backend::http(&world.v2, APP, |_| ok(""));
    let mut client = world.dial_to(WEB, HTTP);
    client.send("POST /up HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nnot all");
    eventually("the copy has begun", || copy.begun() == 1);
    client.reset();
    eventually("it is cut and not ended", || {
        copies(&world, "cut") == 1.0 && copy.cut() == 1
    });
    assert_eq!(copy.hits(), 0);
}

#[test]
fn copies_are_counted_where_they_arrive_and_nowhere_else() {
    let world = World::with(&rules_of_web(COPIED), Spawn::default());
    let _first = world.web();
    let _copy = Backend::http(&world.v2, APP, |_| ok("12345"));
    let mut client = world.dial_to(WEB, HTTP);
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    let count = |reporter: &str, version: &str| {
        let labels = [
            format!("reporter=\"{reporter}\""),
            format!("destination_version=\"{version}\""),
        ];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        world.proxy.metrics().sum("istio_requests_total", &labels)
    };
    eventually("both are counted", || {
        count("destination", "v1") == 10.0 && count("destination", "v2") == 10.0
    });
    assert_eq!((count("source", "v1"), count("source", "v2")), (10.0, 0.0));
}
