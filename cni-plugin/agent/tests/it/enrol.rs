//! Pods that run already when the mesh wants them, or no longer does.

use std::net::{IpAddr, SocketAddr};

use weft_model::capture::PortRange;
use weft_model::pod::Mode;
use weft_wire::pod::ToProxy;

use crate::proxy::{Manner, Proxy};
use crate::world::{Sandbox, World, connect, echo, eventually, greeting, ping, pod};

fn set(world: &World, sandbox: &Sandbox, mode: Mode) {
    let ips: Vec<IpAddr> = vec![sandbox.ip()];
    world.operator.publish(|pods| {
        pods.retain(|pod| pod.workload.uid != sandbox.uid);
        pods.push(pod(&sandbox.namespace, &sandbox.name, mode, ips));
    });
}

fn out() -> Mode {
    Mode::Disabled("namespace is not labelled".into())
}

#[test]
fn a_running_pod_is_enrolled_and_released_and_no_connection_breaks() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.operator.publish(|pods| {
        pods.push(pod("shop", "web", out(), vec![]));
        pods.push(pod("plain", "peer", out(), vec![]));
    });
    let mut web = world.added("shop", "web");
    let peer = world.added("plain", "peer");
    web.assert_clean();
    let before = web.rules();
    echo(&web.netns, 8080);
    echo(&peer.netns, 8080);
    let (to_web, to_peer) = (
        SocketAddr::new(web.ip(), 8080),
        SocketAddr::new(peer.ip(), 8080),
    );

    let mut old = [connect(&peer.netns, to_web), connect(&web.netns, to_peer)];
    old.iter_mut().for_each(|stream| drop(greeting(stream)));
    set(&world, &web, Mode::Enabled);
    eventually("it is captured", || world.captured() == 1.0);
    old.iter_mut()
        .for_each(|stream| ping(stream, "older than the capture"));
    assert_eq!(proxy.relayed(&web.uid), 0);

    let mut during = [connect(&peer.netns, to_web), connect(&web.netns, to_peer)];
    let callers: Vec<String> = during.iter_mut().map(greeting).collect();
    assert_eq!(
        callers,
        [peer.ip().to_string(), web.ip().to_string()],
        "the servers see who called"
    );
    assert_eq!(proxy.relayed(&web.uid), 2);
    world.chain("CHECK", &mut web).unwrap();

    set(&world, &web, out());
    proxy.hears("Releasing", |m| {
        *m == ToProxy::Releasing {
            uid: web.uid.clone(),
        }
    });
    let mut after = connect(&peer.netns, to_web);
    greeting(&mut after);
    assert_eq!(proxy.relayed(&web.uid), 2, "new connections go directly");
    for stream in old.iter_mut().chain(&mut during).chain([&mut after]) {
        ping(stream, "through the release");
    }
    eventually("the metric says so", || {
        world.metric("weft_agent_pods{state=\"releasing\"}") == 1.0
    });
    drop(during);
    proxy.hears("Del", |m| {
        *m == ToProxy::Del {
            uid: web.uid.clone(),
        }
    });
    old.iter_mut()
        .chain([&mut after])
        .for_each(|stream| ping(stream, "after the release"));
    eventually("nothing is left", || web.rules() == before);
    web.assert_clean();
}

#[test]
fn a_label_that_comes_back_calls_the_release_off() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.bind("web", Mode::Enabled, vec![]);
    let mut web = world.added("shop", "web");
    echo(&web.netns, 8080);
    let mut stream = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut stream);
    set(&world, &web, out());
    proxy.hears("Releasing", |m| {
        *m == ToProxy::Releasing {
            uid: web.uid.clone(),
        }
    });
    set(&world, &web, Mode::Enabled);
    proxy.hears("Keep", |m| {
        *m == ToProxy::Keep {
            uid: web.uid.clone(),
        }
    });
    ping(&mut stream, "still here");
    world.chain("CHECK", &mut web).unwrap();
    let mut new = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut new);
    assert_eq!(proxy.relayed(&web.uid), 2);
    assert_eq!(proxy.offers(), 1, "the same listeners all along");
}

#[test]
fn changed_exclusions_reach_a_captured_pod() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.bind("web", Mode::Enabled, vec![]);
    let web = world.added("shop", "web");
    echo(&web.netns, 8080);
    world.operator.publish(|pods| {
        for pod in pods.iter_mut().filter(|pod| pod.workload.uid == web.uid) {
            pod.capture.exclude_inbound_ports = vec![PortRange::one(8080)];
        }
    });
    eventually("the rule is there", || web.rules().contains("8080"));
    greeting(&mut world.connect(SocketAddr::new(web.ip(), 8080)));
    assert_eq!(proxy.relayed(&web.uid), 0);
}

#[test]
fn a_pod_that_cannot_be_enrolled_is_counted_and_tried_again() {
    let world = World::start("1.0.0");
    world.operator.publish(|pods| {
        pods.push(pod("shop", "web", out(), vec![]));
        pods.push(pod(
            "shop",
            "lost",
            Mode::Enabled,
            vec!["10.9.9.9".parse().unwrap()],
        ));
    });
    let web = world.added("shop", "web");
    set(&world, &web, Mode::Enabled);
    let count = |reason: &str| {
        world.metric(&format!(
            "weft_agent_uncaptured_pods{{reason=\"{reason}\"}}"
        ))
    };
    eventually("both reasons are counted", || {
        count("no_namespace") == 1.0 && count("no_proxy") == 1.0
    });
    assert!(world.get("/debug/pods").contains("10.9.9.9"));
    assert!(
        !web.rules().contains("WEFT"),
        "no rules without a proxy: its traffic would go nowhere"
    );
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    eventually("it is captured", || {
        world.captured() == 1.0 && count("no_proxy") == 0.0
    });
}

#[test]
fn a_deleted_pod_is_not_enrolled_again_while_its_namespace_fades() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.bind("web", Mode::Enabled, vec![]);
    let web = world.added("shop", "web");
    set(&world, &web, Mode::Enabled);
    // Only our part of the chain: the address is still there, as it is for a moment in every DEL.
    let plugin = serde_json::json!({"type": "weft-cni", "cniVersion": "1.0.0", "name": "x", "runDir": world.run_dir(), "stateDir": world.path("state")});
    assert!(world.call("DEL", &web, &plugin).status.success());
    let offers = proxy.offers();
    // Any change makes the agent look at all pods again.
    world.bind("other", out(), vec![]);
    eventually("the agent has looked", || world.captured() == 0.0);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(proxy.offers(), offers);
    web.assert_clean();
}

#[test]
fn a_proxy_that_refused_is_asked_again() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::NacksOnce);
    world.bind("web", out(), vec![]);
    let web = world.added("shop", "web");
    set(&world, &web, Mode::Enabled);
    eventually("it is captured", || world.captured() == 1.0);
    assert_eq!(proxy.offers(), 2);
}

#[test]
fn an_address_that_another_pod_has_by_now_captures_nobody_else() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.bind("web", Mode::Enabled, vec![]);
    let mut web = world.added("shop", "web");
    // A pod that has ended keeps its last address in its status.
    world.bind("ended", Mode::Enabled, vec![web.ip()]);
    eventually("it is told apart", || {
        world
            .get("/debug/pods")
            .contains("belongs to the pod with the uid uid-web")
    });
    world.chain("CHECK", &mut web).unwrap();
    world.chain("DEL", &mut web).unwrap();
    web.assert_clean();
}

#[test]
fn add_takes_a_namespace_back_that_a_scan_gave_to_another_pod() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.bind("web", out(), vec![]);
    let mut web = world.added("shop", "web");
    world.bind("ended", Mode::Enabled, vec![web.ip()]);
    eventually("the scan errs", || world.captured() == 1.0);
    world.operator.publish(|pods| {
        pods.retain(|pod| pod.workload.uid != "uid-web");
        pods.push(pod("shop", "web", Mode::Enabled, vec![]));
    });
    let plugin = serde_json::json!({"type": "weft-cni", "cniVersion": "1.0.0", "name": "x", "runDir": world.run_dir(),
        "stateDir": world.path("state"), "prevResult": web.result});
    // On a busy machine the agent may not have the pod yet and say "try again later", as a runtime would.
    eventually("ADD succeeds", || {
        world.call("ADD", &web, &plugin).status.success()
    });
    world.chain("CHECK", &mut web).unwrap();
}

#[test]
fn a_pod_that_was_released_is_captured_again_exactly_once() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world
        .operator
        .publish(|pods| pods.push(pod("shop", "web", out(), vec![])));
    let web = world.added("shop", "web");
    let before = web.rules();
    echo(&web.netns, 8080);
    let mut captured = None;
    for round in 1..=3 {
        set(&world, &web, Mode::Enabled);
        eventually("it is captured", || {
            world.metric("weft_agent_pods{state=\"captured\"}") == 1.0
        });
        let rules = web.rules();
        assert_eq!(captured.get_or_insert(rules.clone()), &rules);
        greeting(&mut world.connect(SocketAddr::new(web.ip(), 8080)));
        assert_eq!(proxy.relayed(&web.uid), round);
        set(&world, &web, out());
        eventually("nothing is left", || web.rules() == before);
        web.assert_clean();
        proxy.forget_heard();
    }
}
