//! Messages and connections that end early, late or not at all: nobody takes half of something for the whole.

use std::io::Write as _;
use std::time::Duration;

use crate::backend::Backend;
use crate::client::Ending;
use crate::world::{APP, World, eventually, ok};

#[test]
fn an_early_answer_to_a_large_upload_reaches_the_client() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        conn.send(
            "HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nstop",
        )
    });
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 1000000000\r\n\r\n");
    // A client that looks only after it has written a lot.
    for _ in 0..64 {
        if client.stream.write_all(&[b'x'; 16 * 1024]).is_err() {
            break;
        }
    }
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (413, "stop"));
    assert_eq!(backend.hits(), 1);
}

#[test]
fn an_answer_that_breaks_off_resets_the_client() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        let seen = conn.request()?.unwrap();
        match seen.line() {
            "GET /length" => conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
            "GET /chunked" => {
                conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf")
            }
            "GET /chunk-garbage" => conn.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcXX\r\n0\r\n\r\n",
            ),
            _ => {
                conn.send("HTTP/1.1 200 OK\r\n\r\nuntil the end, which is a reset")?;
                // A reset overtakes what the peer has not read yet, and nobody can see from here when it has.
                std::thread::sleep(Duration::from_millis(50));
                conn.reset();
                Ok(())
            }
        }
    });
    for path in ["/length", "/chunked", "/chunk-garbage", "/reset"] {
        let mut client = world.dial();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: one\r\n\r\n"));
        assert_eq!(client.ending(), Ending::Reset, "{path}");
    }
    eventually("four broken answers are counted", || {
        let labels = [
            "response_flags=\"UC\"",
            "response_code=\"200\"",
            "reporter=\"source\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 4.0
    });
}

#[test]
fn a_request_that_breaks_off_is_cut_for_the_server_too() {
    let world = World::new();
    let backend = world.web();
    let heads = [
        "POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: one\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
    ];
    for (before, head) in heads.into_iter().enumerate() {
        let mut client = world.dial();
        client.send(head);
        eventually("the server is reached", || backend.begun() == before + 1);
        drop(client);
        eventually("the server's connection ends", || backend.open() == 0);
    }
    assert_eq!((backend.cut(), backend.hits()), (2, 0));
    eventually("two clients that went away are counted", || {
        let labels = [
            "response_flags=\"DC\"",
            "response_code=\"0\"",
            "reporter=\"source\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 2.0
    });
}

#[test]
fn a_client_that_half_closes_after_its_request_still_gets_the_answer() {
    let world = World::new();
    let _backend = Backend::http(&world.v1, APP, |_| {
        // A slow server: the client's end is to be first.
        std::thread::sleep(Duration::from_millis(100));
        ok("late")
    });
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    client.half_close();
    assert_eq!(client.response().text(), "late");
    assert_eq!(client.ending(), Ending::Closed);
}

#[test]
fn a_client_that_resets_frees_the_server_that_still_works_for_it() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.drained();
        Ok(())
    });
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    eventually("the server works", || backend.hits() == 1);
    client.reset();
    eventually("the server is told", || backend.open() == 0);
}

#[test]
fn an_idle_client_connection_outlives_the_time_that_a_head_may_take() {
    let world = World::new();
    let _backend = world.web();
    let mut client = world.dial();
    assert_eq!(client.get("/").status, 200);
    assert!(client.is_silent(Duration::from_secs(12)));
    assert_eq!(client.get("/").status, 200);
}
