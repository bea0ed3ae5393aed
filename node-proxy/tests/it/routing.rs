//! What users write in a VirtualService decides where each request goes (the decks of the issue and their neighbours).

use std::collections::BTreeMap;

use crate::backend::Backend;
use crate::world::{APP, EMPTY, HTTP, TCP, WEB, World, eventually, ok, rules_of_web};

/// Everything under `/admin` is answered by the proxy.
pub(crate) const ADMIN_IS_ANSWERED_HERE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one, namespace: shop}
spec:
  hosts: [one]
  http:
  - match: [{uri: {prefix: /admin}}]
    directResponse: {status: 403, body: {string: \"not you\"}}
  - route: [{destination: {host: one}}]
";

/// Servers in v1 and v2 that answer with their name and the request line.
fn versions(world: &World) -> [Backend; 2] {
    [
        Backend::http(&world.v1, APP, |seen| ok(&format!("v1 {}", seen.line()))),
        Backend::http(&world.v2, APP, |seen| ok(&format!("v2 {}", seen.line()))),
    ]
}

/// A GET to `web` with more headers; status and body.
fn get(world: &World, path: &str, headers: &str) -> (u16, String) {
    let mut client = world.dial_to(WEB, HTTP);
    client.send(format!("GET {path} HTTP/1.1\r\nhost: web\r\n{headers}\r\n"));
    let answer = client.response();
    (answer.status, answer.text().to_owned())
}

#[test]
fn a_header_sends_one_user_to_the_other_version() {
    let world = World::routed(&rules_of_web(
        "
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
",
    ));
    let backends = versions(&world);
    for _ in 0..10 {
        assert_eq!(get(&world, "/", "").1, "v1 GET /");
        assert_eq!(get(&world, "/", "end-user: jason\r\n").1, "v2 GET /");
        assert_eq!(get(&world, "/", "end-user: jasonx\r\n").1, "v1 GET /");
    }
    assert_eq!(backends.map(|backend| backend.hits()), [20, 10]);
}

#[test]
fn a_uri_prefix_sends_a_path_to_the_other_version() {
    let world = World::routed(&rules_of_web(
        "
  - match: [{uri: {prefix: /neu}}]
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
",
    ));
    let _backends = versions(&world);
    assert_eq!(get(&world, "/neu", "").1, "v2 GET /neu");
    assert_eq!(get(&world, "/neu/x?y", "").1, "v2 GET /neu/x?y");
    assert_eq!(get(&world, "/alt", "").1, "v1 GET /alt");
}

#[test]
fn weights_split_the_traffic() {
    let world = World::routed(&rules_of_web(
        "
  - route:
    - {destination: {host: web, subset: v1}, weight: 80}
    - {destination: {host: web, subset: v2}, weight: 20}
",
    ));
    let backends = versions(&world);
    let mut client = world.dial_to(WEB, HTTP);
    for _ in 0..2000 {
        assert_eq!(client.get("/").status, 200);
    }
    let [v1, v2] = backends.map(|backend| backend.hits());
    assert_eq!(v1 + v2, 2000);
    // Five standard deviations of 2,000 draws.
    assert!((310..=490).contains(&v2), "v2 got {v2} of 2,000");
}

#[test]
fn without_a_route_all_endpoints_are_used() {
    let world = World::new();
    let backends = versions(&world);
    let mut client = world.dial_to(WEB, HTTP);
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200);
    }
    let [v1, v2] = backends.map(|backend| backend.hits());
    assert!(v1 > 20 && v2 > 20 && v1 + v2 == 100, "{v1} {v2}");
}

#[test]
fn rewrites_and_header_changes_reach_the_server_and_the_client() {
    let world = World::routed(&rules_of_web(
        "
  - match: [{uri: {prefix: /api/}}]
    rewrite: {uri: /v9/, authority: inside.example}
    headers:
      request: {set: {x-set: rule}, add: {x-more: b}, remove: [x-secret]}
      response: {set: {x-answer: dressed}, remove: [server]}
    route: [{destination: {host: web, subset: v1}}]
",
    ));
    let backend = Backend::http(&world.v1, APP, |_| {
        b"HTTP/1.1 200 OK\r\nserver: app\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let mut client = world.dial_to(WEB, HTTP);
    client.send(
        "GET /api/users?x=/api/ HTTP/1.1\r\nhost: web\r\nx-set: client\r\nx-more: a\r\nx-secret: s\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(answer.header("x-answer"), Some("dressed"));
    assert_eq!(answer.header("server"), None);
    let seen = backend.last();
    assert_eq!(seen.line(), "GET /v9/users?x=/api/");
    assert_eq!(seen.header("host"), Some("inside.example"));
    assert_eq!(seen.header("x-set"), Some("rule"));
    assert_eq!(seen.header("x-secret"), None);
    assert_eq!(seen.head.matches("x-more: ").count(), 2);
    // No rule matches another path: the routes are all there is.
    assert_eq!(get(&world, "/other", "").0, 404);
}

#[test]
fn redirects_and_direct_responses_are_answered_without_a_server() {
    let world = World::routed(&rules_of_web(
        "
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, authority: shop.example, redirectCode: 302}
  - match: [{uri: {exact: /hello}}]
    directResponse: {status: 418, body: {string: \"short and stout\"}}
  - route: [{destination: {host: web}}]
",
    ));
    let backends = versions(&world);
    let mut client = world.dial_to(WEB, HTTP);
    let answer = client.get("/old/x");
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("http://shop.example/new"))
    );
    assert_eq!(answer.header("x-weft-reason"), None);
    let answer = client.get("/hello");
    assert_eq!((answer.status, answer.text()), (418, "short and stout"));
    client.send("HEAD /hello HTTP/1.1\r\nhost: web\r\n\r\n");
    let answer = client.response_to_head();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (418, Some("15"))
    );
    assert_eq!(client.get("/").status, 200);
    assert_eq!(
        backends.map(|backend| backend.hits()).iter().sum::<usize>(),
        1
    );
}

#[test]
fn what_has_no_route_no_subset_no_endpoint_or_no_server_says_so() {
    let world = World::routed(&rules_of_web(
        "
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: web, subset: gone}}]
  - match: [{uri: {prefix: /nobody}}]
    route: [{destination: {host: nobody}}]
  - match: [{uri: {prefix: /dead}}]
    route: [{destination: {host: web, subset: v1}}]
",
    ));
    let mut client = world.dial_to(WEB, HTTP);
    let cases = [
        ("/x", 404, "route_not_found", "NR"),
        ("/gone", 503, "no_healthy_upstream", "UH"),
        ("/nobody", 503, "backend_not_found", "NC"),
        ("/dead", 503, "upstream_connect_failure", "UF"),
    ];
    for (path, status, reason, _) in cases {
        let answer = client.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-weft-reason"), Some(reason), "{path}");
    }
    let answer = world.dial_to(EMPTY, HTTP).get("/");
    assert_eq!(answer.header("x-weft-reason"), Some("no_healthy_upstream"));
    eventually("each has its flag", || {
        let metrics = world.proxy.metrics();
        let count = |status: &str, flag: &str| {
            let code = format!("response_code=\"{status}\"");
            let flags = format!("response_flags=\"{flag}\"");
            metrics.sum(
                "istio_requests_total",
                &[&code, &flags, "reporter=\"source\""],
            )
        };
        [count("404", "NR"), count("503", "UH"), count("503", "NC")] == [1.0, 2.0, 1.0]
            && count("503", "UF,URX") == 1.0
    });
    for (_, _, reason, _) in cases {
        eventually(reason, || world.proxy.access_log().contains(reason));
    }
}

#[test]
fn opaque_connections_to_nobody_are_reset_at_once() {
    let world = World::new();
    let ending = crate::client::soon(|| world.dial_to(EMPTY, TCP).ending());
    assert_eq!(ending, crate::client::Ending::Reset);
}

#[test]
fn new_weights_take_over_in_the_middle_of_traffic_without_an_error() {
    let split = |v1: u32| {
        let v2 = 100 - v1;
        rules_of_web(&format!(
            "
  - route:
    - {{destination: {{host: web, subset: v1}}, weight: {v1}}}
    - {{destination: {{host: web, subset: v2}}, weight: {v2}}}
"
        ))
    };
    let world = World::routed(&split(100));
    let _backends = versions(&world);
    let mut client = world.dial_to(WEB, HTTP);
    for v1 in [100, 0, 100, 0] {
        world.mesh.apply(&split(v1));
        let wanted = if v1 == 100 { "v1 GET /" } else { "v2 GET /" };
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), wanted);
        }
    }
    // And while requests run all the time.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut counts = BTreeMap::<String, u32>::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = client.get("/");
                assert_eq!(answer.status, 200);
                *counts.entry(answer.text()[..2].to_owned()).or_default() += 1;
            }
            counts
        });
        for round in 0..20 {
            world.mesh.apply(&split(round * 5));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let counts = traffic.join().unwrap();
        assert_eq!(counts.len(), 2, "{counts:?}");
    });
}
