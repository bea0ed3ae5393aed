//! Weft is taken off a node, and pods that the runtime has forgotten.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weft_model::pod::Mode;
use weft_wire::pod::ToProxy;

use crate::proxy::{Manner, Proxy};
use crate::world::{World, echo, eventually, greeting, ping, pod};

#[test]
fn an_orderly_removal_lets_connections_end_and_leaves_nothing() {
    let mut world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.bind("web", Mode::Enabled, vec![]);
    let web = world.added("shop", "web");
    echo(&web.netns, 8080);
    let mut stream = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut stream);
    assert_eq!(proxy.relayed(&web.uid), 1);

    world.stop_agent();
    world.start_agent_with(&["--leave"]);
    proxy.hears("Releasing", |m| {
        *m == ToProxy::Releasing {
            uid: web.uid.clone(),
        }
    });
    ping(&mut stream, "through the removal");
    eventually("our conflist is gone", || {
        !world.path("conf/00-weft.conflist").exists()
    });
    let ready = world.get("/healthz/ready");
    assert!(
        ready.contains("not ready") && ready.contains("released"),
        "{ready}"
    );
    drop(stream);
    // A second proxy may still be on its way back with connections of the pod.
    eventually("the agent is done", || {
        world.get("/healthz/ready").starts_with("HTTP/1.1 200")
    });
    web.assert_clean();

    drop(proxy);
    world.stop_agent();
    for dir in ["run", "state"] {
        let left: Vec<_> = std::fs::read_dir(world.path(dir)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // The runtime ends the pod with the configuration that it was started with.
    let entry = json!({"type": "weft-cni", "cniVersion": "1.0.0", "name": "x", "runDir": world.run_dir(),
        "stateDir": world.path("state"), "prevResult": web.result});
    assert!(world.call("DEL", &web, &entry).status.success());
}

#[test]
fn gc_lets_go_of_what_the_runtime_has_forgotten_but_not_of_everything() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.operator.publish(|pods| {
        pods.push(pod("shop", "web", Mode::Enabled, vec![]));
        pods.push(pod("shop", "db", Mode::Enabled, vec![]));
    });
    let (mut web, mut db) = (world.added("shop", "web"), world.added("shop", "db"));
    let network = world.network();
    // GC is about no sandbox.
    let none = world.sandbox("none", "none", "none");
    let gc_of = |network: &str, valid: Value| {
        let entry = json!({"type": "weft-cni", "cniVersion": "1.1.0", "name": network, "runDir": world.run_dir(),
            "stateDir": world.path("state"), "cni.dev/valid-attachments": valid});
        assert!(world.call("GC", &none, &entry).status.success());
    };
    // Another network's attachments are all that a runtime names when it collects that network's.
    gc_of(
        "another",
        json!([{"containerID": "somebody", "ifname": "net1"}]),
    );
    let gc = |valid: Value| gc_of(&network, valid);
    gc(json!([]));
    for sandbox in [&mut web, &mut db] {
        world.chain("CHECK", sandbox).unwrap();
    }
    gc(json!([{"containerID": db.container, "ifname": "eth0"}]));
    web.assert_clean();
    world.chain("CHECK", &mut db).unwrap();
    assert!(
        world.chain("CHECK", &mut web).is_err(),
        "the pod is no longer captured"
    );
}
