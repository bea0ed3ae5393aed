//! Opaque connections: every byte, every end and every reset arrives as it was meant.

use std::io::{Read, Write};
use std::time::Duration;

use crate::backend::{Backend, echo};
use crate::client::{Client, Ending, soon};
use crate::world::{ANY, ONE, TCP, WEB, World, eventually};

#[test]
fn bytes_are_echoed_with_the_clients_address() {
    let world = World::new();
    for port in [TCP, ANY] {
        let backend = Backend::raw(&world.v1, port, |mut conn| {
            conn.send(format!("{}\n", conn.peer.ip()))?;
            echo(conn)
        });
        let mut client = world.dial_to(ONE, port);
        assert_eq!(client.until(b"\n").unwrap(), b"10.244.1.10\n");
        client.send(b"\0\xff any bytes");
        assert_eq!(client.exactly(12).unwrap(), b"\0\xff any bytes");
        client.half_close();
        assert_eq!(client.rest().unwrap(), b"");
        assert_eq!(backend.connections(), 1);
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once_on_an_undeclared_port() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, ANY, |mut conn| {
        conn.send("220 ready\r\n")?;
        echo(conn)
    });
    // Whatever happens once (tables, first connection) is not what a banner waits for.
    world.dial_to(ONE, ANY).until(b"\r\n").unwrap();
    let mut client = soon(|| {
        let mut client = world.dial_to(ONE, ANY);
        assert_eq!(client.until(b"\r\n").unwrap(), b"220 ready\r\n");
        client
    });
    client.send("GET / HTTP/1.1 is not http here\r\n");
    assert_eq!(
        client.until(b"\n").unwrap(),
        b"GET / HTTP/1.1 is not http here\r\n"
    );
}

#[test]
fn http_on_an_undeclared_port_is_found_even_when_it_comes_late() {
    let world = World::new();
    let _backend = Backend::http(&world.v1, ANY, |_| crate::world::ok("found"));
    assert_eq!(world.dial_to(ONE, ANY).get("/").text(), "found");
    let mut client = world.dial_to(ONE, ANY);
    // Longer than the proxy waits before it dials.
    assert!(client.is_silent(Duration::from_millis(50)));
    client.send("GE");
    assert!(client.is_silent(Duration::from_millis(50)));
    client.send("T / HTTP/1.1\r\nhost: one\r\n\r\n");
    assert_eq!(client.response().text(), "found");
    eventually("both are requests", || {
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["reporter=\"source\""])
            == 2.0
    });
}

/// A protocol of words that begin like an HTTP method must not wait for ever.
#[test]
fn words_that_could_become_http_are_carried_in_the_end() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, ANY, echo);
    for pause in [0, 50] {
        let mut client = world.dial_to(ONE, ANY);
        std::thread::sleep(Duration::from_millis(pause));
        client.send("PUT");
        assert_eq!(client.exactly(3).unwrap(), b"PUT");
    }
}

#[test]
fn http2_is_carried_as_bytes_and_counted() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, ANY, echo);
    let mut client = world.dial_to(ONE, ANY);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(
        client.exactly(24).unwrap(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    );
    assert_eq!(
        world.proxy.metrics().sum("weft_http2_as_tcp_total", &[]),
        1.0
    );
}

#[test]
fn each_half_ends_on_its_own() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, TCP, |mut conn| {
        conn.send("server's half\n")?;
        conn.stream.shutdown(std::net::Shutdown::Write)?;
        let mut rest = String::new();
        conn.stream.read_to_string(&mut rest)?;
        assert_eq!(rest, "client's half");
        Ok(())
    });
    let mut client = world.dial_to(ONE, TCP);
    assert_eq!(client.rest().unwrap(), b"server's half\n");
    client.send("client's half");
    client.half_close();
    drop(client);
    let _backend = Backend::raw(&world.v1, ANY, |mut conn| {
        let mut rest = String::new();
        conn.stream.read_to_string(&mut rest)?;
        conn.send(format!("{} bytes", rest.len()))
    });
    let mut client = world.dial_to(ONE, ANY);
    client.send("0123456789");
    client.half_close();
    assert_eq!(client.rest().unwrap(), b"10 bytes");
    // Nothing at all is a conversation too.
    let mut client = world.dial_to(ONE, ANY);
    client.half_close();
    assert_eq!(client.rest().unwrap(), b"0 bytes");
}

#[test]
fn sixty_four_mebibytes_arrive_whole_both_ways_at_once() {
    const SIZE: usize = 64 << 20;
    let world = World::new();
    let _backend = Backend::raw(&world.v1, TCP, echo);
    let client = world.dial_to(ONE, TCP);
    let pattern: Vec<u8> = (0..1_000_003u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    let (mut writing, mut reading) = (client.stream.try_clone().unwrap(), &client.stream);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut left = SIZE;
            while left > 0 {
                let piece = &pattern[..left.min(pattern.len())];
                writing.write_all(piece).unwrap();
                left -= piece.len();
            }
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let (mut at, mut piece) = (0, vec![0; 256 * 1024]);
        loop {
            let count = reading.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            for byte in &piece[..count] {
                assert!(*byte == pattern[at % pattern.len()], "byte {at} differs");
                at += 1;
            }
        }
        assert_eq!(at, SIZE);
    });
}

#[test]
fn a_closed_port_is_a_reset_and_fast() {
    let world = World::new();
    let mut dialled = 0.0;
    for (ip, port) in [(ONE, TCP), (WEB, TCP), (world.v1.ip, 1234)] {
        let ending = soon(|| {
            dialled += 1.0;
            let mut client = world.dial_to(ip, port);
            client.send("x");
            client.ending()
        });
        assert_eq!(ending, Ending::Reset, "{ip}:{port}");
    }
    eventually("they are counted", || {
        let labels = ["response_flags=\"UF\"", "reporter=\"source\""];
        world
            .proxy
            .metrics()
            .sum("istio_tcp_connections_closed_total", &labels)
            == dialled
    });
}

#[test]
fn a_reset_is_a_reset_on_the_other_side() {
    let world = World::new();
    let backend = Backend::raw(&world.v1, TCP, |mut conn| {
        conn.exactly(1)?;
        conn.reset();
        Ok(())
    });
    let mut client = world.dial_to(ONE, TCP);
    client.send("x");
    assert_eq!(client.ending(), Ending::Reset);
    drop(backend);
    let resets = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for port in [TCP, ANY] {
        let count = resets.clone();
        let backend = Backend::raw(&world.v1, port, move |mut conn| {
            if !conn.drained() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            Ok(())
        });
        let client = world.dial_to(ONE, port);
        eventually("the server is reached", || backend.connections() == 1);
        client.reset();
        eventually("the server is told", || backend.open() == 0);
    }
    assert_eq!(resets.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[test]
fn a_dead_endpoint_is_passed_over_for_a_living_one() {
    let world = World::new();
    let _v2 = Backend::raw(&world.v2, TCP, echo);
    for _ in 0..20 {
        let mut client = world.dial_to(WEB, TCP);
        client.send("hello");
        assert_eq!(client.exactly(5).unwrap(), b"hello");
    }
}

#[test]
fn the_proxys_own_ports_are_refused() {
    let world = World::new();
    for port in [15001, 15006, 15008] {
        for ip in [world.client.ip, world.v1.ip] {
            let refused = match Client::connect(&world.client, (ip, port).into()) {
                Err(_) => true,
                Ok(mut client) => {
                    client.send("x");
                    client.ending() == Ending::Reset
                }
            };
            assert!(refused, "{ip}:{port}");
        }
    }
    // Nothing went round in circles.
    eventually("nothing is left open", || {
        world
            .proxy
            .metrics()
            .sum("istio_tcp_connections_opened_total", &[])
            == world
                .proxy
                .metrics()
                .sum("istio_tcp_connections_closed_total", &[])
    });
}

/// Random sizes, random pauses, random order of ends: all bytes and both ends arrive, whoever is first.
#[test]
fn all_bytes_and_both_ends_arrive_in_any_order() {
    const CONNECTIONS: u64 = 120;
    let world = World::new();
    // The first eight bytes say how many the server sends; then each side sends its own and ends its half.
    let backend = Backend::raw(&world.v1, TCP, |mut conn| {
        let size = u64::from_be_bytes(conn.exactly(8)?.try_into().unwrap());
        let mut writing = conn.stream.try_clone()?;
        let sender = std::thread::spawn(move || {
            writing.write_all(&vec![b's'; size as usize])?;
            writing.shutdown(std::net::Shutdown::Write)
        });
        let got = conn.rest()?;
        sender.join().unwrap()?;
        // What the client sent is proved by a second connection's worth of silence: its count is its last eight bytes.
        let told = u64::from_be_bytes(got[got.len() - 8..].try_into().unwrap());
        assert_eq!(told, got.len() as u64, "bytes of the client are missing");
        Ok(())
    });
    std::thread::scope(|scope| {
        for lane in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..CONNECTIONS / 8 {
                    let dice =
                        (lane * 1_000_003 + round * 7_919 + 17) * 2_654_435_761 % 4_294_967_296;
                    let (up, down) = (dice % 300_000, dice / 7 % 300_000);
                    let mut client = world.dial_to(ONE, TCP);
                    client.send(down.to_be_bytes());
                    let mut writing = client.stream.try_clone().unwrap();
                    let sender = std::thread::spawn(move || {
                        if dice % 3 == 0 {
                            std::thread::sleep(Duration::from_millis(dice % 20));
                        }
                        let mut bytes = vec![b'c'; up as usize];
                        bytes.extend((up + 8).to_be_bytes());
                        writing.write_all(&bytes).unwrap();
                        writing.shutdown(std::net::Shutdown::Write).unwrap();
                    });
                    if dice % 2 == 0 {
                        std::thread::sleep(Duration::from_millis(dice % 17));
                    }
                    let got = client.rest().unwrap();
                    assert_eq!(got.len() as u64, down);
                    sender.join().unwrap();
                }
            });
        }
    });
    eventually("every connection has ended on both sides", || {
        backend.open() == 0
    });
    assert_eq!(backend.failed(), 0);
    eventually("and is counted so", || {
        let labels = ["reporter=\"source\"", "response_flags=\"-\""];
        let closed = world
            .proxy
            .metrics()
            .sum("istio_tcp_connections_closed_total", &labels);
        closed == CONNECTIONS as f64
    });
}

#[test]
fn tls_passes_an_undeclared_port_and_nothing_but_http_passes_a_declared_one() {
    const HELLO: &[u8] = b"\x16\x03\x01\x00\x05hello";
    let world = World::new();
    let _any = Backend::raw(&world.v1, ANY, echo);
    let tcp = Backend::raw(&world.v1, TCP, echo);
    let web = world.web();
    let mut client = world.dial_to(ONE, ANY);
    client.send(HELLO);
    assert_eq!(client.exactly(HELLO.len()).unwrap(), HELLO);
    let mut client = world.dial();
    client.send(HELLO);
    assert_eq!(client.response().status, 400);
    assert_eq!(client.ending(), Ending::Closed);
    assert_eq!(web.connections(), 0);
    // A port that is declared TCP is never looked into.
    let request = b"GET / HTTP/1.1\nnot: even strict\n\n";
    let mut client = world.dial_to(ONE, TCP);
    client.send(request);
    assert_eq!(client.exactly(request.len()).unwrap(), request);
    assert_eq!(tcp.connections(), 1);
}
