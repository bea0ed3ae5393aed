//! The lab's network: the root with one bridge, a namespace per node behind it, routes between the nodes' pod networks.
//!
//! Addresses are fixed, because everything lives in a network namespace of its own: root 10.255.0.1, node N
//! 10.255.0.(10+N), its pods 10.244.N.0/24; the same in fd00:255::/64 and fd00:244:N::/64.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use weft_netns::Netns;

use crate::cni::Runtime;
use crate::preflight::{PATH, plugin_directories};

/// Most nodes of one lab: node N's address is 10.255.0.(10+N).
pub const MAX_NODES: u8 = 99;
/// The root's address on the bridge: operator, Prometheus and load sources listen here.
pub const ROOT_IP: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// Where named namespaces are.
pub(crate) const NETNS_DIRECTORY: &str = "/run/netns";

/// One node.
#[derive(Debug)]
pub struct Node {
    /// `node-1`, `node-2`, …
    pub name: String,
    /// N.
    pub number: u8,
    /// Its network namespace.
    pub netns: Netns,
    /// Its files.
    pub paths: NodePaths,
}

/// A node's directories, all below the room.
#[derive(Clone, Debug)]
pub struct NodePaths {
    /// `--run-dir`.
    pub run: PathBuf,
    /// `--state-dir`.
    pub state: PathBuf,
    /// `--cni-conf-dir`.
    pub cni_conf: PathBuf,
    /// `--cni-bin-dir`.
    pub cni_bin: PathBuf,
    /// `CNI_PATH`: that directory, then those of the machine's own plugins.
    pub cni_path: Vec<PathBuf>,
    /// Address leases of host-local.
    pub leases: PathBuf,
}

impl Node {
    /// The node's own IPv4 address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        node_ip(self.number)
    }

    /// Its own IPv6 address.
    #[must_use]
    pub fn ip6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x255, 0, 0, 0, 0, 0, 0x10 + u16::from(self.number))
    }

    /// The IPv4 network of its pods.
    #[must_use]
    pub fn pod_cidr(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// The IPv6 network of its pods.
    #[must_use]
    pub fn pod_cidr6(&self) -> String {
        format!("fd00:244:{}::/64", self.number)
    }

    /// Executes CNI chains on this node.
    #[must_use]
    pub fn runtime(&self) -> Runtime<'_> {
        Runtime {
            node: &self.netns,
            path: &self.paths.cni_path,
        }
    }

    /// The Node object that a kubelet would register.
    #[must_use]
    pub fn object(&self, ipv6: bool) -> Value {
        let mut cidrs = vec![self.pod_cidr()];
        let mut addresses = vec![json!({"type": "InternalIP", "address": self.ip()})];
        if ipv6 {
            cidrs.push(self.pod_cidr6());
            addresses.push(json!({"type": "InternalIP", "address": self.ip6()}));
        }
        addresses.push(json!({"type": "Hostname", "address": self.name}));
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"},
            },
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            "status": {
                "addresses": addresses,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    }
}

fn node_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, 0, 10 + number)
}

/// Makes root bridge and nodes. The calling thread must be in the lab's own network namespace (see `isolate`).
///
/// # Errors
/// A namespace or file cannot be made, or `ip` refuses; its words are in the message.
pub(crate) fn build(directory: &Path, count: u8, ipv6: bool) -> anyhow::Result<Vec<Arc<Node>>> {
    if count == 0 || count > MAX_NODES {
        bail!("a lab has 1 to {MAX_NODES} nodes, not {count}");
    }
    let root = Netns::current().context("cannot open the lab's network namespace")?;
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link add weft0 type bridge".to_owned(),
        "link set weft0 up".to_owned(),
        format!("addr add {ROOT_IP}/16 dev weft0"),
    ];
    let nodes = (1..=count)
        .map(|number| make_node(directory, number, ipv6))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if ipv6 {
        lines.push("addr add fd00:255::1/64 dev weft0 nodad".to_owned());
    }
    for node in &nodes {
        let (name, n) = (&node.name, node.number);
        lines.push(format!(
            "link add n{n} type veth peer name eth0 netns {name}"
        ));
        lines.push(format!("link set n{n} master weft0 up"));
        lines.push(format!("route add {} via {}", node.pod_cidr(), node.ip()));
        if ipv6 {
            lines.push(format!("route add {} via {}", node.pod_cidr6(), node.ip6()));
        }
    }
    forwarding(&root, ipv6)?;
    ip(&root, &lines)?;
    for node in &nodes {
        connect(node, &nodes, ipv6)?;
    }
    Ok(nodes.into_iter().map(Arc::new).collect())
}

fn make_node(directory: &Path, number: u8, ipv6: bool) -> anyhow::Result<Node> {
    let name = format!("node-{number}");
    let base = directory.join("nodes").join(&name);
    let cni_bin = base.join("bin");
    let paths = NodePaths {
        cni_path: std::iter::once(cni_bin.clone())
            .chain(plugin_directories())
            .collect(),
        run: base.join("run"),
        state: base.join("state"),
        cni_conf: base.join("net.d"),
        cni_bin,
        leases: base.join("leases"),
    };
    for path in [
        &paths.run,
        &paths.state,
        &paths.cni_conf,
        &paths.cni_bin,
        &paths.leases,
    ] {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let netns = named_namespace(&name)?;
    let node = Node {
        name,
        number,
        netns,
        paths,
    };
    forwarding(&node.netns, ipv6)?;
    let conflist = node.paths.cni_conf.join("10-bridge.conflist");
    fs::write(&conflist, format!("{:#}\n", primary(&node, ipv6)))
        .with_context(|| format!("cannot write {}", conflist.display()))?;
    Ok(node)
}

/// The cluster's primary network, as an administrator would have configured it.
fn primary(node: &Node, ipv6: bool) -> Value {
    let mut ranges = vec![json!([{"subnet": node.pod_cidr()}])];
    let mut routes = vec![json!({"dst": "0.0.0.0/0"})];
    if ipv6 {
        ranges.push(json!([{"subnet": node.pod_cidr6()}]));
        routes.push(json!({"dst": "::/0"}));
    }
    json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": node.paths.leases,
                "ranges": ranges, "routes": routes,
            },
        }],
    })
}

fn connect(node: &Node, all: &[Node], ipv6: bool) -> anyhow::Result<()> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {}/16 dev eth0", node.ip()),
        format!("route add default via {ROOT_IP}"),
    ];
    if ipv6 {
        lines.push(format!("addr add {}/64 dev eth0 nodad", node.ip6()));
        lines.push("route add ::/0 via fd00:255::1".to_owned());
    }
    for other in all.iter().filter(|other| other.number != node.number) {
        lines.push(format!("route add {} via {}", other.pod_cidr(), other.ip()));
        if ipv6 {
            lines.push(format!(
                "route add {} via {}",
                other.pod_cidr6(),
                other.ip6()
            ));
        }
    }
    ip(&node.netns, &lines)
}

fn forwarding(ns: &Netns, ipv6: bool) -> anyhow::Result<()> {
    let mut keys = vec![("net.ipv4.ip_forward", "1")];
    if ipv6 {
        keys.push(("net.ipv6.conf.all.forwarding", "1"));
        keys.push(("net.ipv6.conf.default.accept_dad", "0"));
    }
    for (key, value) in keys {
        weft_netns::write_sysctl(ns, key, value)?;
    }
    Ok(())
}

/// Makes a namespace that `ip netns` shows under `name`.
pub(crate) fn named_namespace(name: &str) -> anyhow::Result<Netns> {
    use std::os::fd::{AsFd, AsRawFd};
    let ns = Netns::scratch().with_context(|| format!("cannot make network namespace {name}"))?;
    let path = Path::new(NETNS_DIRECTORY).join(name);
    fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let source = format!("/proc/self/fd/{}", ns.as_fd().as_raw_fd());
    let none: Option<&str> = None;
    mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount a namespace on {}", path.display()))?;
    Ok(ns)
}

/// Takes the name away; the namespace ends with its last process and socket.
pub(crate) fn drop_name(name: &str) {
    let path = Path::new(NETNS_DIRECTORY).join(name);
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&path);
}

/// Runs lines of `ip` in a namespace, all or an error with the line that failed.
pub(crate) fn ip(ns: &Netns, lines: &[String]) -> anyhow::Result<()> {
    let mut child = ns
        .run(|| {
            Command::new("ip")
                .args(["-batch", "-"])
                .env("PATH", PATH)
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
