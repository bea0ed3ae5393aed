//! Binary and conflist.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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

/// Undoes what the agent did, as soon as it is done, until the agent calls it a war.
fn war(world: &World, undo: impl Fn(&Path)) -> String {
    let path = world.path("conf/00-weft.conflist");
    eventually("the agent calls it a war", || {
        undo(&path);
        world.metric("weft_agent_conflist{state=\"contested\"}") == 1.0
    });
    assert!(world.get("/healthz/ready").contains("plugin"), "not ready");
    let page = world.get("/debug/installation");
    assert!(page.contains("contested"), "{page}");
    page
}

#[test]
fn who_keeps_removing_it_is_noticed_and_it_is_there_all_the_same() {
    let world = World::start("1.1.0");
    let page = war(&world, |path| {
        let _ = fs::remove_file(path);
    });
    assert!(page.contains("keeps removing"), "{page}");
    assert!(world.log().contains("keeps removing"));
    eventually("it comes back", || own(&world).is_some());
    // Five in a war of five seconds, not one for each removal.
    assert!(world.metric("weft_agent_conflist_writes") < 60.0);
}

#[test]
fn cilium_is_named_with_the_value_to_set() {
    let world = World::start("1.0.0");
    let page = war(&world, |path| {
        let _ = fs::rename(path, path.with_extension("conflist.cilium_bak"));
    });
    assert!(page.contains("cni.exclusive=false"), "{page}");
    eventually("ours is back and its backup gone", || {
        own(&world).is_some() && !world.path("conf/00-weft.conflist.cilium_bak").exists()
    });
}

#[test]
fn who_chains_itself_into_ours_is_named() {
    let world = World::start("1.0.0");
    let page = war(&world, |path| {
        let Ok(text) = fs::read_to_string(path) else {
            return;
        };
        let mut list: Value = serde_json::from_str(&text).unwrap();
        let plugins = list["plugins"].as_array_mut().unwrap();
        if plugins.len() == 2 {
            plugins.push(serde_json::json!({"type": "istio-cni"}));
            let staged = world.path("conf/staged");
            fs::write(&staged, list.to_string()).unwrap();
            fs::rename(staged, path).unwrap();
        }
    });
    assert!(page.contains("istio-cni"), "{page}");
    eventually("ours is as it was", || {
        own(&world).is_some_and(|list| list["plugins"].as_array().unwrap().len() == 2)
    });
}

#[test]
fn a_primary_that_is_written_again_and_again_is_followed_at_leisure_and_named() {
    let world = World::start("1.0.0");
    let mtu = Cell::new(2000);
    let page = war(&world, |_| {
        mtu.set(mtu.get() + 1);
        world.primary("1.0.0", mtu.get());
    });
    assert!(page.contains("10-bridge.conflist"), "{page}");
    eventually("the last content is followed", || {
        own(&world).is_some_and(|list| list["plugins"][0]["mtu"] == mtu.get())
    });
}

#[test]
fn another_primary_that_comes_first_is_followed_without_a_quarrel() {
    let world = World::start("1.0.0");
    let text = fs::read_to_string(world.path("conf/10-bridge.conflist")).unwrap();
    let text = text.replace("1450", "1400");
    fs::write(world.path("conf/staged"), text).unwrap();
    fs::rename(
        world.path("conf/staged"),
        world.path("conf/05-cilium.conflist"),
    )
    .unwrap();
    eventually("it is derived from the first one", || {
        own(&world).is_some_and(|list| list["plugins"][0]["mtu"] == 1400)
    });
    // As Cilium does with those that are not its own.
    let bridge = world.path("conf/10-bridge.conflist");
    fs::rename(&bridge, bridge.with_extension("conflist.cilium_bak")).unwrap();
    fs::remove_file(world.path("bin/weft-cni")).unwrap();
    eventually("a plugin that was removed is back", || {
        world.path("bin/weft-cni").exists()
    });
    world.wait_ready();
    assert_eq!(
        world.metric("weft_agent_conflist{state=\"contested\"}"),
        0.0
    );
    assert!(
        world.path("conf/10-bridge.conflist.cilium_bak").exists(),
        "not ours to touch"
    );
}
