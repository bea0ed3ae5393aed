//! Descriptors: running out of them stops nobody for long, and what is gone gives all of them back.

use std::time::Duration;

use crate::backend::{Backend, echo};
use crate::client::{Client, Ending};
use crate::proxy::Spawn;
use crate::world::{ONE, TCP, World, eventually};

#[test]
fn without_descriptors_the_accept_loop_waits_and_recovers() {
    let world = World::with(
        "",
        Spawn {
            descriptors: Some(120),
            ..Spawn::default()
        },
    );
    let web = world.web();
    let _backend = Backend::raw(&world.v1, TCP, echo);
    assert_eq!(world.dial().get("/").status, 200);
    let cpu = world.proxy.cpu();
    let clients: Vec<Client> = (0..150).map(|_| world.dial_to(ONE, TCP)).collect();
    eventually("accept fails", || {
        // The admin socket needs descriptors too, so the log has to tell.
        world.proxy.log().contains("cannot accept")
    });
    std::thread::sleep(Duration::from_secs(1));
    let used = world.proxy.cpu() - cpu;
    assert!(used < Duration::from_millis(700), "it spins: {used:?}");
    drop(clients);
    eventually("descriptors come back", || world.proxy.descriptors() < 80);
    let mut client = world.dial();
    assert_eq!(client.get("/").status, 200);
    assert!(world.proxy.metrics().sum("weft_accept_errors_total", &[]) >= 1.0);
    assert!(web.hits() >= 2);
}

#[test]
fn a_pod_that_is_deleted_takes_its_connections_and_descriptors_along() {
    let world = World::new();
    let _web = world.web();
    let _backend = Backend::raw(&world.v1, TCP, echo);
    let extra = crate::world::Pod {
        name: "v2",
        ns: world.v2.ns.try_clone().unwrap(),
        ip: world.v2.ip,
        ip6: world.v2.ip6,
    };
    let _v2 = Backend::raw(&extra, TCP, echo);
    let before = world.proxy.descriptors();
    // Connections of the pod, to the pod, and idle ones in the pool.
    let mut from: Vec<Client> = (0..20)
        .map(|_| Client::connect(&world.v2, (ONE, TCP).into()).unwrap())
        .collect();
    let mut to: Vec<Client> = (0..20).map(|_| world.dial_to(world.v2.ip, TCP)).collect();
    for client in from.iter_mut().chain(&mut to) {
        client.send("x");
        assert_eq!(client.exactly(1).unwrap(), b"x");
    }
    let mut web = Client::connect(&world.v2, (ONE, 80).into()).unwrap();
    assert_eq!(web.get("/").status, 200);
    assert!(world.proxy.descriptors() >= before + 80);
    world.agent.drop_pod("uid-v2");
    for mut client in from {
        let _ = client.ending();
    }
    eventually(
        "connections from the pod are gone with their descriptors",
        || {
            // Two listeners in two copies and the namespace in three are the pod's own.
            world.proxy.descriptors() <= before + 40
        },
    );
    drop(to);
    eventually("nothing of the pod is left", || {
        // Six of its own; each worker may have opened its home namespace meanwhile.
        world.proxy.descriptors() + 4 <= before
    });
    // The others are served on.
    assert_eq!(world.dial().get("/").status, 200);
}

#[test]
fn a_deleted_pods_namespace_is_let_go_at_once() {
    let world = World::new();
    let _web = world.web();
    assert_eq!(world.dial().get("/").status, 200);
    let inode = world.v2.ns.id().ino;
    let held = || {
        std::fs::read_dir(format!("/proc/{}/fd", world.proxy.pid()))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|link| link.to_string_lossy() == format!("net:[{inode}]"))
            .count()
    };
    assert!(held() > 0);
    world.agent.drop_pod("uid-v2");
    let begin = std::time::Instant::now();
    eventually("the namespace is closed", || held() == 0);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn twenty_thousand_requests_leak_nothing() {
    let world = World::new();
    let backend = world.web();
    let round = |requests: usize| {
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let world = &world;
                scope.spawn(move || {
                    let mut client = world.dial();
                    for number in 0..requests / 4 {
                        if number % 10 == 0 {
                            client = world.dial();
                        }
                        let path = format!("/{worker}/{number}");
                        client.send(format!(
                            "GET {path} HTTP/1.1\r\nhost: h{number}.example\r\nuser-agent: {number}\r\n\r\n"
                        ));
                        assert_eq!(client.response().status, 200);
                    }
                });
            }
        });
    };
    round(1000);
    let series = world.proxy.metrics().0.lines().count();
    let (descriptors, memory) = (world.proxy.descriptors(), world.proxy.rss());
    round(20_000);
    assert_eq!(backend.hits(), 21_000);
    eventually("descriptors are back", || {
        // Up to a few pooled connections more than before.
        world.proxy.descriptors() <= descriptors + 8
    });
    assert_eq!(world.proxy.metrics().0.lines().count(), series);
    let grown = world.proxy.rss().saturating_sub(memory);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
    eventually("all are counted", || {
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["reporter=\"source\""])
            == 21_000.0
    });
}

#[test]
fn a_client_that_connects_and_leaves_without_a_word_is_nothing() {
    let world = World::new();
    let web = world.web();
    let before = world.proxy.descriptors();
    for round in 0..300 {
        let client = world.dial();
        if round % 2 == 0 {
            client.reset();
        }
    }
    assert_eq!(world.dial().get("/").status, 200);
    eventually("descriptors are back", || {
        world.proxy.descriptors() <= before + 2
    });
    assert_eq!(web.connections(), 1);
    let mut client = world.dial();
    client.half_close();
    assert_eq!(client.ending(), Ending::Closed);
}

/// The server is gone with its pod, the client keeps its half open: that must not keep the pod's namespace.
#[test]
fn a_client_that_never_closes_does_not_hold_a_deleted_pods_namespace() {
    let world = World::new();
    let backend = Backend::raw(&world.v2, TCP, |mut conn| conn.send("bye"));
    let mut client = world.dial_to(world.v2.ip, TCP);
    assert_eq!(client.exactly(3).unwrap(), b"bye");
    eventually("the server has ended its half", || backend.open() == 0);
    let left = || !crate::world::sockets(&world.v2.ns, "close-wait").is_empty();
    assert!(left(), "the proxy does not wait for the client");
    world.agent.drop_pod("uid-v2");
    eventually("the namespace is left", || !left());
    eventually("it is counted as closed", || {
        let metrics = world.proxy.metrics();
        metrics.sum("istio_tcp_connections_closed_total", &[]) == 2.0
    });
}

#[test]
fn connections_that_go_with_their_pod_are_counted_as_closed() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, TCP, echo);
    let mut clients: Vec<Client> = (0..10).map(|_| world.dial_to(ONE, TCP)).collect();
    for client in &mut clients {
        client.send("x");
        client.exactly(1).unwrap();
    }
    world.agent.drop_pod("uid-client");
    eventually("all are closed", || {
        let metrics = world.proxy.metrics();
        let closed = metrics.sum(
            "istio_tcp_connections_closed_total",
            &["reporter=\"source\""],
        );
        closed == 10.0
    });
}
