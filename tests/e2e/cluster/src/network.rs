//! The cluster's network: one bridge in the control plane's namespace, a veth to each node, routes between the nodes'
//! pod networks. Everything lies in the room's own namespaces, so the addresses are the same in every cluster:
//! control plane 10.255.0.1, node N 10.255.0.(10+N), its pods 10.244.N.0/24, Services 10.96.0.0/16.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use weft_netns::{Netns, write_sysctl};

/// Where the API server answers.
pub const CONTROL_PLANE_IP: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// All pods.
pub(crate) const POD_NETWORK: &str = "10.244.0.0/16";
/// All Services.
pub(crate) const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The Service `kubernetes`.
pub(crate) const API_SERVICE_IP: &str = "10.96.0.1";
/// The Service of CoreDNS.
pub(crate) const DNS_IP: &str = "10.96.0.10";

/// Node N's own address.
pub(crate) fn node_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, 0, 10 + number)
}

/// Node N's pods.
pub(crate) fn pod_network(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// The control plane's side: loopback, bridge, routes to all pods.
pub(crate) fn furnish_control_plane(room: &Netns, nodes: u8) -> anyhow::Result<()> {
    write_sysctl(room, "net.ipv4.ip_forward", "1")?;
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link add weft0 type bridge".to_owned(),
        "link set weft0 up".to_owned(),
        format!("addr add {CONTROL_PLANE_IP}/16 dev weft0"),
    ];
    lines.extend((1..=nodes).map(|n| format!("route add {} via {}", pod_network(n), node_ip(n))));
    ip(room, &lines)
}

/// A network namespace for node N of `nodes`, connected to the bridge.
pub(crate) fn make_node(room: &Netns, number: u8, nodes: u8) -> anyhow::Result<Netns> {
    let node = Netns::scratch().context("cannot make a network namespace")?;
    write_sysctl(&node, "net.ipv4.ip_forward", "1")?;
    // Between two pods on one bridge the answer of a Service must pass the node's rules too.
    let _ = write_sysctl(&node, "net.bridge.bridge-nf-call-iptables", "1");
    let link = format!("n{number}");
    // From an earlier life of the node, whose namespace may still be going.
    let _ = ip(room, &[format!("link del {link}")]);
    let end = descriptor_path(&node);
    ip(
        room,
        &[
            format!("link add {link} type veth peer name eth0 netns {end}"),
            format!("link set {link} master weft0 up"),
        ],
    )?;
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {}/16 dev eth0", node_ip(number)),
        format!("route add default via {CONTROL_PLANE_IP}"),
    ];
    let others = (1..=nodes).filter(|other| *other != number);
    lines.extend(others.map(|n| format!("route add {} via {}", pod_network(n), node_ip(n))));
    ip(&node, &lines)?;
    Ok(node)
}

/// A namespace that only a descriptor of this process leads to, for other programs.
pub(crate) fn descriptor_path(ns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd())
}

/// Runs lines of `ip` in a namespace, all or an error with its words.
fn ip(ns: &Netns, lines: &[String]) -> anyhow::Result<()> {
    let mut child = ns
        .run(|| {
            Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })?
        .context("cannot start `ip`")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all((lines.join("\n") + "\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip: {} (batch: {})",
            String::from_utf8_lossy(&output.stderr).trim(),
            lines.join("; ")
        );
    }
    Ok(())
}
