//! Ordinary HTTP/1.1 between two captured pods of one node: what an app sends is what the other app gets.

use crate::backend::Backend;
use crate::client::{Client, Ending, soon};
use crate::world::{APP, HTTP, ONE, World, eventually, ok};

#[test]
fn a_get_through_the_cluster_ip_reaches_the_pod_and_shows_the_clients_address() {
    let world = World::new();
    let backend = world.web();
    let answer = world.dial().get("/a?b=c");
    assert_eq!((answer.status, answer.text()), (200, "v1"));
    let seen = backend.last();
    assert_eq!(seen.line(), "GET /a?b=c");
    assert_eq!(seen.header("host"), Some("one"));
    assert_eq!(seen.peer.ip(), world.client.ip);
    assert!(seen.header("x-request-id").unwrap().len() >= 16);
}

#[test]
fn one_upstream_connection_serves_all_requests_of_a_pod_in_turn() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    drop(client);
    // The pool belongs to a worker; new connections of an idle node stay with the pod's own.
    for _ in 0..10 {
        assert_eq!(world.dial().get("/").status, 200);
    }
    assert_eq!((backend.connections(), backend.hits()), (1, 20));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let backend = world.answering(|seen| ok(seen.line()));
    let mut client = world.dial();
    client.send(
        "GET /1 HTTP/1.1\r\nhost: one\r\n\r\n\
         POST /2 HTTP/1.1\r\nhost: one\r\ncontent-length: 3\r\n\r\nabc\
         GET /3 HTTP/1.1\r\nhost: one\r\n\r\n",
    );
    for line in ["GET /1", "POST /2", "GET /3"] {
        assert_eq!(client.response().text(), line);
    }
    let bodies: Vec<Vec<u8>> = backend.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"".to_vec(), b"abc".to_vec(), b"".to_vec()]);
}

#[test]
fn chunked_bodies_and_trailers_travel_both_ways() {
    let world = World::new();
    let backend = world.answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
          3\r\nabc\r\n10;ext=1\r\n0123456789abcdef\r\n0\r\nx-sum: 42\r\n\r\n"
            .to_vec()
    });
    let mut client = world.dial();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nhost: one\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n1\r\n!\r\n0\r\nx-check: 7\r\ncontent-length: 99\r\n\r\n",
        );
        let answer = client.response();
        assert_eq!(answer.text(), "abc0123456789abcdef");
        assert_eq!(answer.trailers, "x-sum: 42\r\n");
        let seen = backend.last();
        assert_eq!(seen.body, b"hello!");
        assert_eq!(seen.trailers, "x-check: 7\r\n");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn expect_continue_waits_for_the_servers_leave() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        let head = conn.head()?.unwrap();
        assert_eq!(head.header("expect"), Some("100-continue"));
        conn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = conn.exactly(5)?;
        conn.send(ok(&String::from_utf8(body).unwrap()))
    });
    let mut client = world.dial();
    client
        .send("POST / HTTP/1.1\r\nhost: one\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    assert_eq!(backend.hits(), 1);
}

#[test]
fn early_hints_pass_before_the_answer() {
    let world = World::new();
    let _backend = world.answering(|_| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
        [hints.as_slice(), &ok("done")].concat()
    });
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    let hints = client.response();
    assert_eq!(
        (hints.status, hints.header("link")),
        (103, Some("</a.css>; rel=preload"))
    );
    assert_eq!(client.response().text(), "done");
    // A client of HTTP/1.0 knows no interim answers.
    let mut old = world.dial();
    old.send("GET / HTTP/1.0\r\nhost: one\r\n\r\n");
    assert_eq!(old.response().text(), "done");
}

#[test]
fn answers_without_a_body_keep_their_length_and_their_connection() {
    let world = World::new();
    let backend = world.answering(|seen| match seen.line() {
        "HEAD /length" => b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec(),
        "HEAD /chunked" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        "GET /204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "GET /304" => {
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: x\r\n\r\n".to_vec()
        }
        _ => ok("end"),
    });
    let mut client = world.dial();
    client.send("HEAD /length HTTP/1.1\r\nhost: one\r\n\r\n");
    let answer = client.response_to_head();
    assert_eq!(answer.header("content-length"), Some("1234"));
    client.send("HEAD /chunked HTTP/1.1\r\nhost: one\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    assert_eq!(client.get("/204").status, 204);
    let answer = client.get("/304");
    assert_eq!(answer.header("content-length"), Some("99"));
    assert_eq!(client.get("/").text(), "end");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_of_http_1_0_gets_plain_bodies_and_an_end() {
    let world = World::new();
    let backend = world.answering(|seen| match seen.line() {
        "GET /chunked" => {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
        }
        _ => ok("v1"),
    });
    let mut client = world.dial();
    client.send("GET /chunked HTTP/1.0\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.text(), "abc");
    assert_eq!(client.ending(), Ending::Closed);
    // Without a Host there is only the address that was dialled.
    assert_eq!(backend.last().header("host"), Some("10.96.0.11:80"));

    let mut client = world.dial();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nhost: one\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "v1");
    }
    client.send("GET / HTTP/1.0\r\nhost: one\r\n\r\n");
    assert_eq!(client.response().text(), "v1");
    assert_eq!(client.ending(), Ending::Closed);
}

#[test]
fn a_server_of_http_1_0_ends_its_body_with_the_connection_and_the_client_keeps_its_own() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.send("HTTP/1.0 200 OK\r\n\r\nall of it")
    });
    let mut client = world.dial();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.text(), "all of it");
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_web_socket_is_carried_both_ways_until_both_sides_end() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        let head = conn.head()?.unwrap();
        assert_eq!(head.header("upgrade"), Some("websocket"));
        assert_eq!(head.header("connection"), Some("upgrade"));
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: x\r\n\r\nfirst words",
        )?;
        crate::backend::echo(conn)
    });
    let mut client = world.dial();
    client.send(
        "GET /ws HTTP/1.1\r\nhost: one\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: k\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(answer.header("sec-websocket-accept"), Some("x"));
    assert_eq!(client.exactly(11).unwrap(), b"first words");
    client.send("\x00GET / not http any more");
    assert_eq!(client.exactly(24).unwrap(), b"\x00GET / not http any more");
    client.half_close();
    assert_eq!(client.rest().unwrap(), b"");
    assert_eq!(backend.connections(), 1);
    eventually("the switched request is counted", || {
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["response_code=\"101\""])
            == 2.0
    });
}

#[test]
fn a_refused_upgrade_stays_http() {
    let world = World::new();
    let backend = world.answering(|seen| ok(seen.line()));
    let mut client = world.dial();
    client
        .send("GET /ws HTTP/1.1\r\nhost: one\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.response().text(), "GET /ws");
    assert_eq!(client.get("/next").text(), "GET /next");
    assert_eq!(backend.hits(), 2);
}

#[test]
fn a_slow_answer_arrives_piece_by_piece() {
    let world = World::new();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let _backend = Backend::raw(&world.v1, APP, move |mut conn| {
        conn.request()?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..3 {
            gone.lock().unwrap().recv().unwrap();
            conn.send("5\r\nevent\r\n")?;
        }
        conn.send("0\r\n\r\n")
    });
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    // The head does not wait for the first byte of the body.
    client.until(b"\r\n\r\n").unwrap();
    for _ in 0..3 {
        go.send(()).unwrap();
        assert_eq!(client.exactly(10).unwrap(), b"5\r\nevent\r\n");
    }
    assert_eq!(client.exactly(5).unwrap(), b"0\r\n\r\n");
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let world = World::new();
    let backend = world.answering(|seen| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            seen.body.len()
        );
        [head.as_bytes(), &seen.body].concat()
    });
    let body: Vec<u8> = (0..8 << 20)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut client = world.dial();
    client.send(format!(
        "PUT / HTTP/1.1\r\nhost: one\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    assert!(client.response().body == body);
    client.send("PUT / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n");
    for piece in body.chunks(100_001) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert!(client.response().body == body);
    assert!(backend.last().body == body);
}

#[test]
fn two_pods_never_share_an_upstream_connection() {
    let world = World::new();
    let backend = world.web();
    assert_eq!(world.dial().get("/").status, 200);
    let mut other = Client::connect(&world.v2, (ONE, HTTP).into()).unwrap();
    assert_eq!(other.get("/").status, 200);
    assert_eq!(world.dial().get("/").status, 200);
    let seen = backend.seen();
    let peers: Vec<_> = seen.iter().map(|seen| seen.peer.ip()).collect();
    assert_eq!(peers, [world.client.ip, world.v2.ip, world.client.ip]);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_pod_reaches_itself_through_its_own_service() {
    let world = World::new();
    let backend = world.web();
    let mut client = Client::connect(&world.v1, (ONE, HTTP).into()).unwrap();
    assert_eq!(soon(|| client.get("/")).text(), "v1");
    assert_eq!(backend.last().peer.ip(), world.v1.ip);
}

#[test]
fn what_apps_write_into_a_target_and_a_host_arrives_as_it_was() {
    let world = World::new();
    let backend = world.web();
    for (host, target) in [
        ("one:8080", "/a%20b?q=%2F..%2F&x=a+b"),
        ("one", "/a;v=1/b,c/@d:e/!$&'()*"),
        ("one", "/?"),
        ("one", "/a//b/"),
        ("10.96.0.11", "/~user/-_.html"),
        ("[fd00::1]:81", "/%C3%A4"),
    ] {
        let mut client = world.dial();
        client.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(client.response().status, 200, "{host} {target}");
        let seen = backend.last();
        assert_eq!(seen.line(), format!("GET {target}"));
        assert_eq!(seen.header("host"), Some(host), "{target}");
    }
    let mut client = world.dial();
    client.send("OPTIONS * HTTP/1.1\r\nhost: one\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last().line(), "OPTIONS *");
    client.send("PURGE /x HTTP/1.1\r\nhost: one\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last().line(), "PURGE /x");
}

#[test]
fn large_heads_pass_both_ways() {
    let world = World::new();
    let value = "v".repeat(30_000);
    let answer = format!("HTTP/1.1 200 OK\r\nset-cookie: {value}\r\ncontent-length: 0\r\n\r\n");
    let backend = world.answering(move |_| answer.clone().into_bytes());
    let mut client = world.dial();
    for _ in 0..3 {
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: one\r\ncookie: {value}\r\n\r\n"
        ));
        assert_eq!(client.response().header("set-cookie"), Some(value.as_str()));
        assert_eq!(backend.last().header("cookie"), Some(value.as_str()));
    }
    assert_eq!(backend.connections(), 1);
}
