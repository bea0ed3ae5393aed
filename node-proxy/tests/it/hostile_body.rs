//! Where one request ends and the next begins (hardening.md part 2, A): whatever a body says, it stays that body.

use crate::backend::Backend;
use crate::client::Ending;
use crate::world::{APP, World, eventually, ok};

/// A body that breaks after the head has gone upstream: the server sees an abort, the client a reset.
#[test]
fn bodies_that_cannot_be_proved_cut_both_sides() {
    const CASES: &[(&str, &str)] = &[
        ("V4 size wraps", "f0000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("V5 bare lf", "5\nhello\r\n0\r\n\r\n"),
        ("V6 extension with lf", "1;a\nb\r\nx\r\n0\r\n\r\n"),
        ("no end of data", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("negative", "-1\r\n\r\n0\r\n\r\n"),
    ];
    let world = World::new();
    let backend = world.web();
    for (name, body) in CASES {
        let mut client = world.dial();
        client.send("POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send(body);
        client.send("GET /smuggled HTTP/1.1\r\nhost: one\r\n\r\n");
        let _ = client.ending();
        eventually(name, || backend.open() == 0);
    }
    let extensions = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(200);
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(extensions);
    let _ = client.ending();
    assert_eq!(backend.hits(), 0);
    // V20: a flood of trailers.
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n0\r\n");
    let _ = std::io::Write::write_all(&mut client.stream, "x-t: 1\r\n".repeat(10_000).as_bytes());
    let _ = client.ending();
    eventually("no flood arrived", || backend.open() == 0);
    assert_eq!(backend.hits(), 0);
}

/// V20: a trailer is never a header, whatever its name.
#[test]
fn trailers_that_mean_something_are_dropped() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    client.send(
        "POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\
         host: evil\r\nauthorization: root\r\ntransfer-encoding: chunked\r\nx-weft-identity: a\r\nx-kept: 1\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let seen = backend.last();
    assert_eq!(seen.trailers, "x-kept: 1\r\n");
    assert_eq!(
        (seen.header("host"), seen.header("authorization")),
        (Some("one"), None)
    );
}

#[test]
fn chunk_extensions_are_never_forwarded() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        let rest = conn.until(b"0\r\n\r\n")?;
        assert_eq!(rest, b"3\r\nabc\r\n0\r\n\r\n");
        conn.send(ok("clean"))
    });
    let mut client = world.dial();
    client.send(
        "POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n",
    );
    assert_eq!(client.response().text(), "clean");
}

/// V7, V17: a body behind a request that the proxy answers itself is never taken for a request.
#[test]
fn a_body_on_a_request_that_is_answered_locally_stays_a_body() {
    let world = World::new();
    let backend = world.web();
    let hidden = "GET /hidden HTTP/1.1\r\nhost: one\r\n\r\n";
    let mut client = world.dial_to(crate::world::EMPTY, crate::world::HTTP);
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: empty\r\ncontent-length: {}\r\n\r\n{hidden}",
        hidden.len()
    ));
    assert_eq!(client.response().status, 503);
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: empty\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
        hidden.len()
    ));
    assert_eq!(client.response().status, 503);
    // Too long to be read for nothing: the answer, then the end.
    client.send("POST / HTTP/1.1\r\nhost: empty\r\ncontent-length: 200000\r\n\r\n");
    client.send(hidden.repeat(6000).get(..200_000).unwrap());
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (503, Some("close"))
    );
    assert_eq!(client.ending(), Ending::Closed);
    // One that is still being sent: the answer does not wait for it, and the connection is not lost.
    let mut client = crate::client::soon(|| {
        let mut client = world.dial_to(crate::world::EMPTY, crate::world::HTTP);
        client.send("POST / HTTP/1.1\r\nhost: empty\r\ncontent-length: 10\r\n\r\n01234");
        assert_eq!(client.response().status, 503);
        client
    });
    client.send("56789");
    assert_eq!(client.get("/").status, 503);
    // A client that waits for leave does not get it, nor another request.
    let mut client = world.dial_to(crate::world::EMPTY, crate::world::HTTP);
    client.send(
        "POST / HTTP/1.1\r\nhost: empty\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (503, Some("close"))
    );
    assert_eq!(client.ending(), Ending::Closed);
    assert_eq!(backend.hits(), 0);
    eventually("exactly six requests are counted", || {
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["response_flags=\"UH\""])
            == 6.0
    });
}

/// V16: the server answers finally instead of with 100; what the client then sends is still a body.
#[test]
fn a_refused_expectation_does_not_shift_the_requests_behind() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        while let Some(seen) = conn.head()? {
            if seen.header("expect").is_some() {
                conn.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")?;
            } else {
                conn.send(ok(seen.line()))?;
            }
        }
        Ok(())
    });
    let mut client = world.dial();
    let hidden = "GET /hidden HTTP/1.1\r\nhost: one\r\n\r\n";
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: one\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        hidden.len()
    ));
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (401, Some("close"))
    );
    client.send(hidden);
    let _ = client.ending();
    assert_eq!(world.dial().get("/next").text(), "GET /next");
    let lines: Vec<String> = backend
        .seen()
        .iter()
        .map(|seen| seen.line().to_owned())
        .collect();
    assert_eq!(lines, ["POST /", "GET /next"]);
}

/// Valid requests in any framing, cut into pieces anywhere: the server sees exactly these, and the client its answers.
#[test]
fn any_cut_of_a_stream_of_requests_is_the_same_stream() {
    let world = World::new();
    let backend = world.answering(|seen| {
        let body = format!("{} {}", seen.line(), seen.body.len());
        // The answer's framing changes with its size.
        match seen.body.len() % 3 {
            0 => ok(&body),
            1 => {
                let (head, tail) = body.split_at(body.len() / 2);
                format!(
                    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                     {:x}\r\n{head}\r\n{:X};e\r\n{tail}\r\n0\r\nx-t: 1\r\n\r\n",
                    head.len(),
                    tail.len()
                )
                .into_bytes()
            }
            _ => [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), ok(&body)].concat(),
        }
    });
    let mut dice = 88_172_645_463_325_252_u64;
    let mut roll = move |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % below as u64) as usize
    };
    let (mut stream, mut wanted) = (Vec::new(), Vec::new());
    for number in 0..300 {
        let size = [0, 1, 2, 100, 5_000, 40_000][roll(6)];
        let body = vec![b'a' + (number % 26) as u8; size];
        let (method, framing) = match (size, roll(2)) {
            (0, 0) => ("GET", "\r\n".to_owned().into_bytes()),
            (_, 0) => {
                let head = format!("content-length: {size}\r\n\r\n");
                ("POST", [head.as_bytes(), &body].concat())
            }
            _ => {
                let mut bytes = b"transfer-encoding: chunked\r\n\r\n".to_vec();
                let piece = 1 + roll(9_000);
                for chunk in body.chunks(piece) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                ("PUT", bytes)
            }
        };
        stream.extend(format!("{method} /{number} HTTP/1.1\r\nhost: one\r\n").into_bytes());
        stream.extend(framing);
        wanted.push((format!("{method} /{number}"), body));
    }
    let mut client = world.dial();
    let mut writing = client.stream.try_clone().unwrap();
    let mut cuts: Vec<usize> = (0..600).map(|_| roll(stream.len())).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        for pair in cuts.windows(2) {
            writing.write_all(&stream[pair[0]..pair[1]]).unwrap();
            // A slow client: each piece is to be a read of its own.
            std::thread::sleep(std::time::Duration::from_micros(500));
        }
    });
    for (line, body) in &wanted {
        let answer = loop {
            let answer = client.response();
            if answer.status >= 200 {
                break answer;
            }
        };
        assert_eq!(answer.text(), format!("{line} {}", body.len()));
    }
    writer.join().unwrap();
    for (seen, (line, body)) in backend.seen().iter().zip(&wanted) {
        assert_eq!(seen.line(), line);
        assert!(seen.body == *body, "{line} arrived with another body");
    }
    assert_eq!(backend.hits(), wanted.len());
    assert_eq!(backend.connections(), 1);
}
