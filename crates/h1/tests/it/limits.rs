//! Every bound of [`Limits`], just below and just above, finished and unfinished; and the scanner that keeps slow senders
//! cheap.

use weft_h1::{HeadScanner, Limits, parse_request, parse_response};

fn status(bytes: &str, limits: &Limits) -> u16 {
    match parse_request(bytes.as_bytes(), limits) {
        Ok(Some(_)) => 200,
        Ok(None) => 100,
        Err(reject) => reject.status.as_u16(),
    }
}

#[test]
fn heads_are_bounded() {
    let limits = Limits::default();
    let base = "GET / HTTP/1.1\r\nHost: a\r\n";
    let padded = |len: usize| {
        let room = len - base.len() - 2;
        let lines = format!("{:a<100}: {}\r\n", "", "b".repeat(500)).repeat(room / 604 - 1);
        let last = "d".repeat(room - lines.len() - 5);
        format!("{base}{lines}c: {last}\r\n\r\n")
    };
    assert_eq!(padded(limits.head).len(), limits.head);
    assert_eq!(status(&padded(limits.head), &limits), 200);
    assert_eq!(status(&padded(limits.head + 1), &limits), 431);
    let endless = format!("{base}X: {}", "a".repeat(limits.head));
    assert_eq!(status(&endless, &limits), 431);
    let short = Limits { head: 40, ..limits };
    assert_eq!(status(&endless[..39], &short), 100);
    assert_eq!(status(&endless[..40], &short), 431);
}

#[test]
fn header_lines_are_counted() {
    let limits = Limits::default();
    let lines = |n: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "a: b\r\n".repeat(n - 1)
        )
    };
    assert_eq!(
        (status(&lines(128), &limits), status(&lines(129), &limits)),
        (200, 431)
    );
    let few = Limits {
        headers: 3,
        ..limits
    };
    assert_eq!(
        (status(&lines(3), &few), status(&lines(4), &few)),
        (200, 431)
    );
    let more = Limits {
        headers: 1000,
        ..limits
    };
    assert_eq!(
        status(&lines(129), &more),
        431,
        "there is no room for more than MAX_HEADERS"
    );
    assert_eq!(
        status(
            "GET / HTTP/1.0\r\n\r\n",
            &Limits {
                headers: 0,
                ..limits
            }
        ),
        200
    );
}

#[test]
fn targets_and_methods_are_bounded() {
    let limits = Limits::default();
    let get = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert_eq!(
        (
            status(&get(16 * 1024), &limits),
            status(&get(16 * 1024 + 1), &limits)
        ),
        (200, 414)
    );
    let endless = format!("GET /{}", "a".repeat(17 * 1024));
    assert_eq!(status(&endless, &limits), 414);
    let method = |len: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(len));
    assert_eq!(
        (status(&method(32), &limits), status(&method(33), &limits)),
        (200, 501)
    );
}

#[test]
fn response_heads_are_bounded_too() {
    let limits = Limits {
        head: 64,
        headers: 2,
        header_name: 8,
        ..Limits::default()
    };
    for (text, fine) in [
        ("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\ne: f\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nabcdefgh: 1\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nabcdefghi: 1\r\n\r\n", false),
        (
            "HTTP/1.1 200 OK\r\na: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            false,
        ),
    ] {
        assert_eq!(
            parse_response(text.as_bytes(), &http::Method::GET, &limits).is_ok(),
            fine,
            "{text}"
        );
    }
}

#[test]
fn the_scanner_is_ready_exactly_when_a_head_may_be_complete() {
    for (text, at) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", 27),
        ("GET / HTTP/1.1\nHost: a\n\nbody", 24),
        ("GET / HTTP/1.1\r\nHost: a\n\r\nbody", 26),
        ("\r\nGET / HTTP/1.0\r\n\r\n", 20),
    ] {
        let mut scanner = HeadScanner::default();
        let ready = (0..=text.len()).find(|&len| scanner.ready(&text.as_bytes()[..len], 1000));
        assert_eq!(ready, Some(at), "{text:?}");
    }
    let mut scanner = HeadScanner::default();
    assert!(!scanner.ready(b"GET / HTTP", 11) && scanner.ready(b"GET / HTTP/", 11));
}
