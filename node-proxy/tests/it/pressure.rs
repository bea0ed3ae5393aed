//! Readers that stall and writers that dribble: memory stays flat, time is limited, everybody else is served.

use std::io::Write as _;
use std::time::Duration;

use crate::backend::Backend;
use crate::client::{Client, timed};
use crate::world::{APP, ONE, TCP, World, eventually, ok};

/// A world whose sockets hold little in the kernel, so that many may stall at once.
fn world() -> World {
    let world = World::new();
    for ns in [&world.client.ns, &world.v1.ns] {
        for key in ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"] {
            weft_netns::write_sysctl(ns, key, "4096 16384 131072").unwrap();
        }
    }
    world
}

/// Answers with a body without end, as fast as it is taken.
fn endless(world: &World) -> Backend {
    Backend::raw(&world.v1, APP, |mut conn| {
        conn.request()?;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")?;
        loop {
            conn.send([b'x'; 64 * 1024])?;
        }
    })
}

/// Sends without end.
fn torrent(world: &World) -> Backend {
    Backend::raw(&world.v1, TCP, |mut conn| {
        loop {
            conn.send([b'x'; 64 * 1024])?;
        }
    })
}

/// Waits until resident memory no longer grows, and returns it.
fn settled(world: &World) -> usize {
    let mut last = world.proxy.rss();
    let mut calm = 0;
    while calm < 10 {
        std::thread::sleep(Duration::from_millis(50));
        let now = world.proxy.rss();
        calm = if now <= last { calm + 1 } else { 0 };
        last = last.max(now);
    }
    last
}

fn request(client: &mut Client) {
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
}

#[test]
fn a_stalled_reader_of_a_gibibyte_costs_less_than_two_mebibytes() {
    let world = world();
    let _backend = endless(&world);
    // A first request makes whatever is made once.
    let mut warm = world.dial();
    request(&mut warm);
    warm.exactly(1 << 20).unwrap();
    drop(warm);
    let before = settled(&world);
    let mut client = world.dial();
    request(&mut client);
    client.exactly(1 << 20).unwrap();
    let grown = settled(&world).saturating_sub(before);
    assert!(grown < 2 << 20, "grew by {grown} bytes");
}

/// Lets every buffer on the way to all clients grow full; what that cost.
fn stalled(world: &World, clients: &mut [Client]) -> usize {
    let before = world.proxy.rss();
    for client in clients {
        client.exactly(1 << 20).unwrap();
    }
    settled(world).saturating_sub(before)
}

#[test]
fn five_hundred_stalled_answers_cost_less_than_64_mebibytes() {
    let world = world();
    let _backend = endless(&world);
    let mut clients: Vec<Client> = (0..500).map(|_| world.dial()).collect();
    clients.iter_mut().for_each(request);
    let grown = stalled(&world, &mut clients);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
}

#[test]
fn five_hundred_stalled_byte_streams_cost_less_than_64_mebibytes() {
    let world = world();
    let _backend = torrent(&world);
    let mut clients: Vec<Client> = (0..500).map(|_| world.dial_to(ONE, TCP)).collect();
    let grown = stalled(&world, &mut clients);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
}

#[test]
fn a_thousand_idle_connections_hold_no_buffers() {
    let world = World::new();
    let _backend = world.web();
    world.dial().get("/");
    let before = settled(&world);
    let mut clients: Vec<Client> = (0..1000).map(|_| world.dial()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    let each = settled(&world).saturating_sub(before) / 1000;
    assert!(each < 8 * 1024, "{each} bytes for each");
}

#[test]
fn idle_web_sockets_hold_no_buffers() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, APP, |mut conn| {
        conn.head()?;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")?;
        crate::backend::echo(conn)
    });
    let open = || {
        let mut client = world.dial();
        client
            .send("GET / HTTP/1.1\r\nhost: one\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nfirst");
        assert_eq!(client.response().status, 101);
        assert_eq!(client.exactly(5).unwrap(), b"first");
        client
    };
    open();
    let before = settled(&world);
    let clients: Vec<Client> = (0..500).map(|_| open()).collect();
    let each = settled(&world).saturating_sub(before) / clients.len();
    assert!(each < 16 * 1024, "{each} bytes for each");
}

#[test]
fn a_head_that_dribbles_is_answered_408_after_ten_seconds() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    let mut writing = client.stream.try_clone().unwrap();
    let dribble = std::thread::spawn(move || {
        for byte in b"GET / HTTP/1.1\r\nhost: one\r\nx-endless: "
            .iter()
            .chain([b'x'; 200].iter())
        {
            if writing.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let (answer, took) = timed(|| client.response());
    assert_eq!(
        (answer.status, answer.header("connection")),
        (408, Some("close"))
    );
    assert!(
        took > Duration::from_secs(9) && took < Duration::from_secs(20),
        "{took:?}"
    );
    drop(client);
    dribble.join().unwrap();
    assert_eq!(backend.connections(), 0);
    assert_eq!(world.dial().get("/").status, 200);
}

#[test]
fn one_byte_and_then_silence_does_not_hold_a_connection_for_ever() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    client.send("G");
    let (_, took) = timed(|| client.ending());
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_upload_that_nobody_reads_stops_at_the_client() {
    let world = World::new();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let _backend = Backend::raw(&world.v1, APP, move |mut conn| {
        conn.head()?;
        let _ = wait.lock().unwrap().recv();
        conn.send(ok("enough"))
    });
    world.dial();
    let before = settled(&world);
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 1073741824\r\n\r\n");
    client
        .stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut sent = 0;
    while client.stream.write_all(&[b'x'; 64 * 1024]).is_ok() {
        sent += 64 * 1024;
        assert!(sent < 512 << 20, "somebody swallows it");
    }
    let grown = settled(&world).saturating_sub(before);
    assert!(grown < 2 << 20, "grew by {grown} bytes");
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "enough");
}

#[test]
fn others_are_served_while_some_stall() {
    let world = world();
    let _backend = torrent(&world);
    let web = world.web();
    let mut clients: Vec<Client> = (0..50).map(|_| world.dial_to(ONE, TCP)).collect();
    stalled(&world, &mut clients);
    let mut slowest = Duration::ZERO;
    let mut client = world.dial();
    for _ in 0..200 {
        slowest = slowest.max(timed(|| assert_eq!(client.get("/").status, 200)).1);
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    eventually("all were served", || web.hits() == 200);
}

#[test]
fn memory_comes_back_after_a_burst() {
    let world = world();
    let _backend = torrent(&world);
    let mut one = [world.dial_to(ONE, TCP)];
    stalled(&world, &mut one);
    drop(one);
    let before = settled(&world);
    let mut clients: Vec<Client> = (0..300).map(|_| world.dial_to(ONE, TCP)).collect();
    let grown = stalled(&world, &mut clients);
    assert!(grown > 4 << 20, "that was no burst: {grown} bytes");
    drop(clients);
    let begin = std::time::Instant::now();
    while world.proxy.rss() > before + (6 << 20) {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{} bytes more than before",
            world.proxy.rss().saturating_sub(before)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn others_are_served_while_some_stream_at_full_speed() {
    use std::io::Read as _;
    let world = world();
    let _backend = torrent(&world);
    let web = world.web();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let client = world.dial_to(ONE, TCP);
            let stop = &stop;
            scope.spawn(move || {
                let mut piece = vec![0; 256 * 1024];
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = (&client.stream).read(&mut piece);
                }
            });
        }
        let mut slowest = Duration::ZERO;
        let mut client = world.dial();
        for _ in 0..200 {
            slowest = slowest.max(timed(|| assert_eq!(client.get("/").status, 200)).1);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    });
    assert_eq!(web.hits(), 200);
}
