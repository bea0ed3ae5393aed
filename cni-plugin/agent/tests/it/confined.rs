//! The agent with no more rights than its pod gives it: three capabilities, no new privileges, a read-only /proc/sys.

use weft_model::pod::Mode;

use crate::proxy::{Manner, Proxy};
use crate::world::{World, echo, greeting, pod};

/// What the chart and the systemd unit give.
const CAPABILITIES: &str = "-all,+sys_admin,+net_admin,+net_raw";

/// A shell that confines itself and becomes what it is given.
fn confined(capabilities: &str) -> Vec<String> {
    let script = format!(
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
         exec setpriv --no-new-privs --bounding-set={capabilities} \"$@\""
    );
    // As in a pod, namespaces that are named later show in here too.
    [
        "unshare",
        "--mount",
        "--propagation",
        "slave",
        "sh",
        "-c",
        &script,
        "sh",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn lives(flavour: &str, capabilities: &str) {
    let mut world = World::without_agent();
    world.primary("1.0.0", 1450);
    world.start_agent_in(&confined(capabilities), &["--iptables", flavour]);
    world
        .operator
        .set(|pods| pods.push(pod("shop", "web", Mode::Enabled, vec![])));
    world.wait_ready();
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    let mut web = world.added("shop", "web");
    assert!(web.rules_of(flavour).contains("WEFT_IN"));
    assert!(
        !web.rules_of(flavour).contains("CONNMARK"),
        "its settings were made"
    );
    echo(&web.netns, 8080);
    greeting(&mut world.connect((web.ip(), 8080).into()));
    assert_eq!(proxy.relayed(&web.uid), 1);
    world.chain("CHECK", &mut web).unwrap();
    world.chain("DEL", &mut web).unwrap();
    web.assert_clean();
}

#[test]
fn nft_as_in_a_pod() {
    lives("nft", CAPABILITIES);
}

#[test]
fn legacy_as_in_a_pod() {
    lives("legacy", CAPABILITIES);
}

/// Where legacy iptables is not wanted, nobody needs its raw socket.
#[test]
fn nft_needs_one_capability_less() {
    lives("nft", "-all,+sys_admin,+net_admin");
}
