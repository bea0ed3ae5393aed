//! Bytes that clients should not send (hardening.md part 2, A to C): refused with a status and a close, and no server ever
//! sees any of it. The codec's own tests have the whole history; here it is the proxy around it that is on trial.

use crate::client::Ending;
use crate::world::{World, eventually, ok};

/// Each is refused with this status, the connection ends in order, and the smuggled request behind is never parsed.
#[test]
fn what_cannot_be_proved_is_refused_and_reaches_nobody() {
    const CASES: &[(&str, u16, &str)] = &[
        (
            "V1",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n1\r\nZ\r\nQ",
        ),
        (
            "V1 reversed",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n1\r\nZ\r\nQ",
        ),
        (
            "V2 two codings",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "V2 list",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: ,chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "V2 unknown",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "V3 plus",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello",
        ),
        (
            "V3 two",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        ),
        (
            "V3 huge",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\nhello",
        ),
        (
            "V9 1.0 with coding",
            400,
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "V12 empty name",
            400,
            "GET / HTTP/1.1\r\nhost: a\r\n: x\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (
            "V13 empty length",
            400,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\ncontent-length: 10\r\n\r\n",
        ),
        ("V14 space", 400, "GET / HTTP/1.1\r\nhost : a\r\n\r\n"),
        (
            "V15 fold",
            400,
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
        ),
        (
            "V15 bare cr",
            400,
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        ),
        (
            "V15 nul",
            400,
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        ),
        (
            "V16 expectation",
            417,
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: y 100-continue\r\ncontent-length: 1\r\n\r\nx",
        ),
        (
            "V33 two hosts",
            400,
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        ),
        (
            "V33 two names",
            400,
            "GET http://evil/ HTTP/1.1\r\nhost: good\r\n\r\n",
        ),
        ("V33 junk host", 400, "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n"),
        (
            "V34 zone",
            400,
            "GET / HTTP/1.1\r\nhost: [::1%25eth0]\r\n\r\n",
        ),
        (
            "V34 open bracket",
            400,
            "GET / HTTP/1.1\r\nhost: [::1\r\n\r\n",
        ),
        ("no host", 400, "GET / HTTP/1.1\r\n\r\n"),
        ("V37 fragment", 400, "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("bare lf", 400, "GET / HTTP/1.1\nhost: a\n\n"),
        ("http/2.0 line", 505, "GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
        ("garbage", 400, "\u{1}\u{2}\u{3}\r\n\r\n"),
    ];
    let world = World::new();
    let backend = world.web();
    for (name, status, bytes) in CASES {
        let mut client = world.dial();
        client.send(bytes);
        client.send("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.status, *status, "{name}: {}", answer.head);
        assert_eq!(answer.header("connection"), Some("close"), "{name}");
        assert!(answer.header("x-weft-reason").is_some(), "{name}");
        assert_eq!(client.ending(), Ending::Closed, "{name}");
    }
    let mut client = world.dial();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(70_000)
    ));
    assert_eq!(client.response().status, 431);
    assert_eq!(client.ending(), Ending::Closed);
    assert_eq!((backend.connections(), backend.hits()), (0, 0));
    eventually("all are counted", || {
        let labels = ["response_flags=\"DPE\""];
        let count = world.proxy.metrics().sum("istio_requests_total", &labels);
        count == (CASES.len() + 1) as f64
    });
}

/// V8: bytes behind an upgrade that is not granted are a request like any other.
#[test]
fn bytes_behind_an_upgrade_wait_for_the_servers_answer() {
    let world = World::routed(crate::routing::ADMIN_IS_ANSWERED_HERE);
    let backend = world.answering(|seen| ok(seen.line()));
    let mut client = world.dial();
    client.send(
        "GET / HTTP/1.1\r\nhost: one\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n\
         GET /admin HTTP/1.1\r\nhost: one\r\n\r\n",
    );
    assert_eq!(client.response().text(), "GET /");
    assert_eq!(client.response().status, 403);
    assert_eq!(backend.hits(), 1);
}

/// V18: HTTP/2 in clear text is never switched to.
#[test]
fn an_upgrade_to_h2c_is_stripped() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    client.send(
        "GET / HTTP/1.1\r\nhost: one\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let seen = backend.last();
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

/// V26 to V28: a client can neither remove nor forge what the mesh writes.
#[test]
fn headers_of_the_mesh_and_of_the_connection_do_not_pass() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    client.send(
        "GET / HTTP/1.1\r\nhost: one\r\nconnection: close, x-forwarded-for, x-private, X-Request-Id\r\n\
         x-forwarded-for: 1.2.3.4\r\nx-private: secret\r\nx-request-id: mine\r\nx-weft-identity: admin\r\n\
         x_weft_identity: admin\r\ntransfer_encoding: chunked\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    let seen = backend.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("1.2.3.4"));
    assert_eq!(seen.header("x-request-id"), Some("mine"));
    for name in [
        "x-private",
        "x-weft-identity",
        "x_weft_identity",
        "transfer_encoding",
        "keep-alive",
        "proxy-connection",
        "connection",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

/// V33, V36, V39: one canonical form is routed and forwarded.
#[test]
fn target_and_host_are_canonical_before_anybody_decides() {
    let world = World::routed(crate::routing::ADMIN_IS_ANSWERED_HERE);
    let backend = world.answering(|seen| ok(seen.line()));
    for path in [
        "/admin",
        "/x/../admin",
        "/%61dmin",
        "/x/%2e%2e/admin",
        "/./admin",
    ] {
        let answer = world.dial().get(path);
        assert!(
            answer.status == 403 || answer.status == 400,
            "{path}: {}",
            answer.status
        );
    }
    let mut client = world.dial();
    client.send("GET http://one/path HTTP/1.1\r\nhost: one\r\n\r\n");
    assert_eq!(client.response().text(), "GET /path");
    assert_eq!(backend.last().header("host"), Some("one"));
    client.send("GET / HTTP/1.1\r\nhost: ONE.Shop.\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last().header("host"), Some("one.shop"));
    client.send("CONNECT one:80 HTTP/1.1\r\nhost: one:80\r\n\r\n");
    assert_eq!(client.response().status, 405);
    assert_eq!(backend.hits(), 2);
}
