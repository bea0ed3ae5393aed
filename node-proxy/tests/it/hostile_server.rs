//! Bytes that servers should not send (hardening V21): the client gets 502 or a reset, never somebody else's answer, and
//! the connection is never lent again.

use crate::backend::Backend;
use crate::client::Ending;
use crate::world::{APP, World, eventually, ok};

#[test]
fn an_answer_that_cannot_be_proved_is_502() {
    const CASES: &[(&str, &str)] = &[
        (
            "framed twice",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        ),
        (
            "signed length",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        ),
        (
            "unknown coding",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        ),
        (
            "unasked switch",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\nhello",
        ),
        (
            "switch to nothing",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ),
        ("garbage", "\u{1}\u{2}\u{3}\u{4} not http\r\n\r\n"),
        (
            "fold",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        ),
        ("bare lf", "HTTP/1.1 200 OK\ncontent-length: 0\n\n"),
        ("old version", "HTTP/0.9 200 OK\r\n\r\n"),
    ];
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        let seen = conn.request()?.unwrap();
        let number: usize = seen.line().strip_prefix("GET /").unwrap().parse().unwrap();
        let bytes = CASES.get(number).map_or_else(
            || "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000),
            |(_, bytes)| (*bytes).to_owned(),
        );
        conn.send(bytes)?;
        conn.drained();
        Ok(())
    });
    let mut client = world.dial();
    for (number, (name, _)) in CASES.iter().enumerate() {
        let answer = client.get(&format!("/{number}"));
        assert_eq!(answer.status, 502, "{name}");
        assert_eq!(
            answer.header("x-weft-reason"),
            Some("upstream_protocol_error"),
            "{name}"
        );
    }
    assert_eq!(backend.connections(), CASES.len());
    // A flood of interim answers ends at a limit.
    client.send(format!(
        "GET /{} HTTP/1.1\r\nhost: one\r\n\r\n",
        CASES.len()
    ));
    let mut interim = 0;
    let last = loop {
        let answer = client.response();
        if answer.status != 103 {
            break answer;
        }
        interim += 1;
    };
    assert_eq!((interim, last.status), (16, 502));
    eventually("all are counted", || {
        let labels = ["response_flags=\"UPE\"", "reporter=\"destination\""];
        world.proxy.metrics().sum("istio_requests_total", &labels) == (CASES.len() + 1) as f64
    });
    eventually("every connection was closed", || backend.open() == 0);
}

#[test]
fn bytes_behind_an_answer_close_the_connection_and_reach_nobody() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        while conn.request()?.is_some() {
            conn.send([ok("mine"), ok("poison")].concat())?;
        }
        Ok(())
    });
    let mut client = world.dial();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "mine");
    }
    assert_eq!(backend.connections(), 5);
    eventually("the unasked bytes are counted", || {
        world
            .proxy
            .metrics()
            .sum("weft_upstream_unasked_bytes_total", &[])
            >= 1.0
    });
}

#[test]
fn bytes_that_come_while_a_connection_is_idle_are_never_an_answer() {
    let world = World::new();
    let (tell, told) = std::sync::mpsc::channel();
    let backend = Backend::raw(&world.v1, APP, move |mut conn| {
        conn.request()?;
        conn.send(ok("mine"))?;
        conn.send(ok("poison"))?;
        tell.send(()).unwrap();
        conn.drained();
        Ok(())
    });
    for _ in 0..5 {
        assert_eq!(world.dial().get("/").text(), "mine");
        told.recv().unwrap();
    }
    assert_eq!(backend.connections(), 5);
}

#[test]
fn a_body_on_head_or_304_is_never_the_next_answer() {
    let world = World::new();
    let backend = world.answering(|seen| {
        if seen.line().starts_with("HEAD") {
            return ok("unexpected");
        }
        ok(seen.line())
    });
    let mut client = world.dial();
    client.send("HEAD / HTTP/1.1\r\nhost: one\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    assert_eq!(client.get("/next").text(), "GET /next");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_server_that_closes_without_an_answer_is_a_503_with_its_reason() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        Ok(())
    });
    let mut client = world.dial();
    let answer = client.get("/");
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.header("x-weft-reason"),
        Some("upstream_reset_before_response")
    );
    assert_eq!(backend.connections(), 1);
    // Half a head is no answer either.
    drop(backend);
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-le")
    });
    assert_eq!(client.get("/").status, 503);
}

#[test]
fn an_endless_head_is_502_and_costs_little() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        conn.send("HTTP/1.1 200 OK\r\n")?;
        loop {
            conn.send(format!("x-filler: {}\r\n", "x".repeat(1000)))?;
        }
    });
    let mut client = world.dial();
    assert_eq!(client.get("/").status, 502);
}

#[test]
fn an_orderly_end_after_a_switch_is_passed_on_and_a_reset_too() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n",
        )?;
        conn.exactly(1)?;
        conn.reset();
        Ok(())
    });
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n");
    assert_eq!(client.response().status, 101);
    client.send("x");
    assert_eq!(client.ending(), Ending::Reset);
}
