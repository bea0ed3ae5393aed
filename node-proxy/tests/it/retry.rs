//! What is tried again, how often, for how long, and what never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::backend::Backend;
use crate::client::{Client, timed};
use crate::world::{APP, FAR, HTTP, ONE, WEB, World, eventually, ok, sockets};

/// Deck (d), for `one`.
const DECK_D: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: one, namespace: shop}
spec:
  hosts: [one]
  http:
  - route: [{destination: {host: one}}]
    timeout: 2s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: 'connect-failure,5xx'}
";

/// Fails so often, then succeeds.
fn fails(times: usize) -> impl Fn(&crate::backend::Seen) -> Vec<u8> {
    let count = AtomicUsize::new(0);
    move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < times {
            return b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfail".to_vec();
        }
        ok("done")
    }
}

#[test]
fn a_backend_that_fails_twice_is_asked_a_third_time() {
    let world = World::routed(DECK_D);
    let backend = world.answering(fails(2));
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 5\r\n\r\nhello");
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (200, "done"));
    let bodies: Vec<Vec<u8>> = backend.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"hello", b"hello", b"hello"]);
    let ids: Vec<Option<String>> = backend
        .seen()
        .iter()
        .map(|seen| seen.header("x-request-id").map(str::to_owned))
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    // The attempts are one request.
    eventually("one request is counted", || {
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["reporter=\"source\""])
            == 1.0
    });
}

/// The answer of another node's proxy whose application has closed its port already, as when a pod ends.
const UNREACHED: &str = "HTTP/1.1 503 Service Unavailable\r\nx-weft-reason: upstream_connect_failure\r\n\
                         content-length: 4\r\n\r\nfail";

#[test]
fn an_application_that_its_own_proxy_cannot_reach_has_seen_nothing_and_is_tried_again() {
    let world = World::new();
    let count = AtomicUsize::new(0);
    // What the other node's proxy says; the first answer is there to know the pod by.
    let backend = Backend::http(&world.far, APP, move |_| {
        match count.fetch_add(1, Ordering::SeqCst) {
            1 | 2 => UNREACHED.as_bytes().to_vec(),
            0 | 3 => ok("done"),
            _ => UNREACHED.replace("_connect_failure", "_reset").into_bytes(),
        }
    });
    let mut client = world.dial_to(FAR, HTTP);
    assert_eq!(client.get("/").text(), "done");
    eventually("the pod is known", || {
        let labels = ["reporter=\"source\"", "destination_workload=\"far\""];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 1.0
    });
    let answer = client.get("/");
    assert_eq!((answer.status, answer.text()), (200, "done"));
    assert_eq!(backend.hits(), 4);
    // Any other reason may mean that it has seen something; and what a reason says is between proxies.
    let answer = client.get("/");
    assert_eq!((answer.status, answer.text()), (503, "fail"));
    assert_eq!(answer.header("x-weft-reason"), None);
    assert_eq!(backend.hits(), 5);
}

#[test]
fn an_application_cannot_have_its_requests_repeated_by_speaking_like_a_proxy() {
    let world = World::new();
    // On this node its own word arrives here, on the way in from another node too.
    let backend = world.answering(|_| UNREACHED.as_bytes().to_vec());
    let inside = world.dial().get("/");
    let outside = Client::connect(&world.far, world.v1.at(APP))
        .unwrap()
        .get("/");
    for answer in [inside, outside] {
        assert_eq!((answer.status, answer.text()), (503, "fail"));
        assert_eq!(answer.header("x-weft-reason"), None);
    }
    assert_eq!(backend.hits(), 2);
}

#[test]
fn attempts_end_with_the_last_answer_and_say_so() {
    let world = World::routed(DECK_D);
    let backend = world.answering(fails(100));
    let answer = world.dial().get("/");
    assert_eq!((answer.status, answer.text()), (503, "fail"));
    assert_eq!(backend.hits(), 4);
    eventually("the flag says that retries were used up", || {
        let labels = [
            "response_flags=\"URX\"",
            "response_code=\"503\"",
            "reporter=\"source\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 1.0
    });
}

#[test]
fn a_backend_that_hangs_is_a_504_within_the_rules_timeout() {
    let world = World::routed(DECK_D);
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.drained();
        Ok(())
    });
    let (answer, took) = timed(|| world.dial().get("/"));
    assert_eq!(answer.status, 504);
    assert!(answer.header("x-weft-reason").is_some());
    // The second attempt is cut short; a third one would show that only attempts are limited.
    assert!(
        took > Duration::from_millis(1900) && took < Duration::from_millis(5000),
        "{took:?}"
    );
    eventually("the second attempt arrives", || backend.hits() == 2);
    eventually("its connections were closed", || backend.open() == 0);
    eventually("the flag says timeout", || {
        let labels = [
            "response_flags=\"UT\"",
            "response_code=\"504\"",
            "reporter=\"source\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 1.0
    });
}

#[test]
fn an_answer_that_stalls_in_its_body_ends_with_the_rules_timeout() {
    let world = World::routed(DECK_D);
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
        conn.drained();
        Ok(())
    });
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    let (ending, took) = timed(|| client.ending());
    assert_eq!(ending, crate::client::Ending::Reset);
    assert!(
        took > Duration::from_millis(1900) && took < Duration::from_millis(5000),
        "{took:?}"
    );
}

#[test]
fn a_body_is_replayed_up_to_64_kib_and_not_beyond() {
    let world = World::routed(DECK_D);
    let backend = world.answering(fails(1));
    for (size, status, hits) in [(64 * 1024, 200, 2), (64 * 1024 + 1, 200, 1)] {
        let before = backend.hits();
        let mut client = world.dial();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: one\r\ncontent-length: {size}\r\n\r\n"
        ));
        client.send(vec![b'x'; size]);
        assert_eq!(client.response().status, status, "{size}");
        assert_eq!(backend.hits() - before, hits, "{size}");
    }
    assert!(
        backend
            .seen()
            .iter()
            .all(|seen| seen.body.len() >= 64 * 1024)
    );
    drop(backend);
    let backend = world.answering(fails(1));
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 65537\r\n\r\n");
    client.send(vec![b'x'; 65537]);
    assert_eq!(client.response().status, 503);
    assert_eq!(backend.hits(), 1);
}

#[test]
fn a_dead_endpoint_is_passed_over_for_a_living_one() {
    let world = World::new();
    let _v2 = Backend::http(&world.v2, APP, |_| ok("v2"));
    let mut client = world.dial_to(WEB, HTTP);
    for _ in 0..50 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text()), (200, "v2"));
    }
}

#[test]
fn without_a_policy_an_answer_is_never_asked_for_twice() {
    let world = World::new();
    let backend = world.answering(fails(1));
    let mut client = world.dial();
    assert_eq!(client.get("/").status, 503);
    assert_eq!(backend.hits(), 1);
    drop(backend);
    // Nor is one that broke off after the request was sent.
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        Ok(())
    });
    assert_eq!(client.get("/").status, 503);
    assert_eq!(backend.hits(), 1);
}

/// The server closes a kept connection at the worst moment: after the next request was written to it.
#[test]
fn a_stale_connection_is_replaced_unseen() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.send(ok("first"))?;
        // It dies of the second request, without a word. A fresh connection would have answered.
        conn.request()?;
        Ok(())
    });
    let mut client = world.dial();
    for _ in 0..10 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text()), (200, "first"));
    }
    assert_eq!(backend.connections(), 10);
}

/// All connections of the pool end at once, as when the proxy of another node is killed.
#[test]
fn many_stale_connections_cost_a_request_one_attempt() {
    const MANY: usize = 6;
    let world = World::new();
    let (count, all) = (AtomicUsize::new(0), Barrier::new(MANY));
    let backend = Backend::raw(&world.v1, APP, move |mut conn| {
        conn.request()?;
        // None is answered before all are open, so that none serves two.
        if count.fetch_add(1, Ordering::SeqCst) < MANY {
            all.wait();
        }
        conn.send(ok("first"))?;
        conn.request()?;
        Ok(())
    });
    let mut clients: Vec<_> = (0..MANY).map(|_| world.dial()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let answer = clients[0].get("/");
    assert_eq!((answer.status, answer.text()), (200, "first"));
    assert_eq!(backend.connections(), MANY + 1);
}

#[test]
fn a_post_on_a_stale_connection_is_not_sent_twice() {
    let world = World::new();
    let posts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&posts);
    let _backend = Backend::raw(&world.v1, APP, move |mut conn| {
        while let Some(request) = conn.request()? {
            if request.line().starts_with("POST") {
                seen.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            conn.send(ok("got"))?;
        }
        Ok(())
    });
    let mut client = world.dial();
    assert_eq!(client.get("/").status, 200);
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 1\r\n\r\nx");
    assert_eq!(client.response().status, 503);
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

/// A server that closes its idle connections in order: the proxy notices before it uses one.
#[test]
fn connections_that_the_server_has_closed_are_not_used() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.send(ok("once"))
    });
    for round in 0..20 {
        eventually("the last connection is closed", || {
            backend.open() == 0 && sockets(&world.v1.ns, "established").is_empty()
        });
        let mut client = world.dial_to(ONE, HTTP);
        client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!(client.response().status, 200, "round {round}");
    }
}

/// The first attempt dies in the middle of an upload: the second gets what was sent, and then the rest.
#[test]
fn an_upload_goes_on_in_the_next_attempt_where_the_last_one_broke() {
    let world = World::routed(DECK_D);
    let (told, tell) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::raw(&world.v1, APP, move |mut conn| {
        if conn.number == 0 {
            conn.head()?;
            conn.until(b"first\r\n")?;
            told.lock().unwrap().send(()).unwrap();
            return Ok(());
        }
        let seen = conn.request()?.unwrap();
        conn.send(ok(std::str::from_utf8(&seen.body).unwrap()))
    });
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    tell.recv().unwrap();
    eventually("the next attempt has begun", || backend.connections() == 2);
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "firstsecond");
}
