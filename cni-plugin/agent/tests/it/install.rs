//! Binary and conflist.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::world::{World, eventually};

fn own(world: &World) -> Option<Value> {
    let text = fs::read(world.path("conf/00-weft.conflist")).ok()?;
    Some(serde_json::from_slice(&text).expect("ours is never half written"))
}

#[test]
fn the_conflist_waits_for_a_primary_and_follows_it() {
    let mut world = World::without_agent();
    world.start_agent();
    eventually("the binary is there", || {
        world.path("bin/weft-cni").exists()
    });
    eventually("the agent answers", || {
        world.get("/healthz/ready").contains("not ready")
    });
    assert!(world.get("/healthz/ready").contains("plugin"));
    assert!(own(&world).is_none(), "never alone");

    world.primary("0.4.0", 1450);
    eventually("it is derived", || own(&world).is_some());
    let first = own(&world).unwrap();
    assert_eq!(
        (
            first["cniVersion"].as_str(),
            first["plugins"][0]["mtu"].as_u64()
        ),
        (Some("0.4.0"), Some(1450))
    );
    assert_eq!(first["plugins"][1]["type"], "weft-cni");
    assert_eq!(
        first["plugins"][1]["runDir"],
        world.run_dir().display().to_string()
    );
    world.wait_ready();

    world.primary("0.4.0", 9000);
    eventually("a change of the primary's content is followed", || {
        own(&world).unwrap()["plugins"][0]["mtu"] == 9000
    });
    fs::set_permissions(
        world.path("conf/10-bridge.conflist"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    world.primary("1.0.0", 9001);
    eventually("so is its version", || {
        own(&world).unwrap()["cniVersion"] == "1.0.0"
    });

    fs::remove_file(world.path("conf/00-weft.conflist")).unwrap();
    eventually("a removed one comes back", || own(&world).is_some());
    fs::write(
        world.path("conf/00-multus.conf"),
        r#"{"cniVersion":"1.0.0","name":"m","type":"multus"}"#,
    )
    .unwrap();
    eventually("ours sorts before every other", || {
        world.path("conf/00-0-weft.conflist").exists() && own(&world).is_none()
    });
}

#[test]
fn a_stopped_agent_leaves_everything_in_place() {
    let mut world = World::start("1.0.0");
    fs::set_permissions(
        world.path("conf/10-bridge.conflist"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    world.stop_agent();
    assert!(own(&world).is_some() && world.path("bin/weft-cni").exists());
    fs::write(world.path("bin/weft-cni"), "torn").unwrap();
    world.start_agent();
    world.wait_ready();
    assert_ne!(fs::read(world.path("bin/weft-cni")).unwrap(), b"torn");
}

#[test]
fn who_keeps_undoing_it_is_noticed() {
    let world = World::start("1.0.0");
    for _ in 0..5 {
        eventually("it is there", || own(&world).is_some());
        fs::remove_file(world.path("conf/00-weft.conflist")).unwrap();
    }
    eventually("the metric says so", || {
        world.metric("weft_agent_conflist{state=\"contested\"}") == 1.0
    });
    assert!(world.log().contains("cni.exclusive"));
}
