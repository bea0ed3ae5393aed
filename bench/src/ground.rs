//! The peers' ground: one node and its pods as network namespaces, a bridge between them, a Service address for each
//! peer whose traffic the node's NAT table redirects to that peer, as a mesh with a proxy per node would do.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// Where the backend answers HTTP.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where it sends bytes.
pub(crate) const BULK_PORT: u16 = 9090;
/// The Service's port.
pub(crate) const SERVICE_PORT: u16 = 80;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
const NODE: &str = "node";
const PODS: [(&str, Ipv4Addr); 3] = [
    ("client", Ipv4Addr::new(10, 244, 1, 2)),
    ("server", Ipv4Addr::new(10, 244, 1, 3)),
    // A client whose own namespace holds the proxy: the control.
    ("sidecar", Ipv4Addr::new(10, 244, 1, 4)),
];

/// Namespaces, links and redirections; they vanish with the room.
#[derive(Debug)]
pub(crate) struct Ground {}

/// One redirected address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redirect {
    /// What clients dial.
    pub(crate) service: Ipv4Addr,
    /// Where the proxy listens in its namespace.
    pub(crate) port: u16,
    /// In the client's own namespace (OUTPUT) instead of the node's (PREROUTING).
    pub(crate) in_pod: bool,
}

impl Ground {
    /// Builds it all inside the room's network namespace.
    pub(crate) fn build(redirects: &[Redirect]) -> anyhow::Result<Self> {
        add_namespace(NODE)?;
        ip(NODE, "link add cni0 type bridge")?;
        ip(NODE, &format!("addr add {GATEWAY}/24 dev cni0"))?;
        ip(NODE, "link set cni0 up")?;
        sysctl(NODE, "net/ipv4/ip_forward", "1")?;
        for (name, address) in PODS {
            add_namespace(name)?;
            ip(
                name,
                &format!("link add eth0 type veth peer name veth-{name} netns {NODE}"),
            )?;
            ip(NODE, &format!("link set veth-{name} master cni0 up"))?;
            ip(name, &format!("addr add {address}/24 dev eth0"))?;
            ip(name, "link set eth0 up")?;
            ip(name, &format!("route add default via {GATEWAY}"))?;
        }
        let (in_pod, in_node): (Vec<_>, Vec<_>) = redirects.iter().partition(|r| r.in_pod);
        redirect(NODE, "PREROUTING", &in_node)?;
        redirect("sidecar", "OUTPUT", &in_pod)?;
        Ok(Self {})
    }

    /// File of the node's namespace.
    pub(crate) fn node(&self) -> PathBuf {
        namespace(NODE)
    }

    /// File of the ordinary client's namespace.
    pub(crate) fn client(&self) -> PathBuf {
        namespace("client")
    }

    /// File of the control's namespace.
    pub(crate) fn sidecar(&self) -> PathBuf {
        namespace("sidecar")
    }

    /// File of the backend's namespace.
    pub(crate) fn server(&self) -> PathBuf {
        namespace("server")
    }

    /// The backend's address at `port`.
    pub(crate) fn backend(&self, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(10, 244, 1, 3), port))
    }
}

fn namespace(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn add_namespace(name: &str) -> anyhow::Result<()> {
    run(Command::new("ip").args(["netns", "add", name]))?;
    ip(name, "link set lo up")
}

fn ip(name: &str, arguments: &str) -> anyhow::Result<()> {
    run(Command::new("ip")
        .args(["-n", name])
        .args(arguments.split(' ')))
}

fn sysctl(name: &str, key: &str, value: &str) -> anyhow::Result<()> {
    weft_netns::Netns::open(&namespace(name))?
        .run(|| std::fs::write(Path::new("/proc/sys").join(key), value))?
        .with_context(|| format!("cannot set {key} in {name}"))
}

/// One `iptables-restore` for all rules of a namespace.
fn redirect(name: &str, chain: &str, redirects: &[&Redirect]) -> anyhow::Result<()> {
    if redirects.is_empty() {
        return Ok(());
    }
    let mut text = String::from("*nat\n");
    for entry in redirects {
        let (service, port) = (entry.service, entry.port);
        for dport in [SERVICE_PORT, BULK_PORT] {
            writeln!(
                text,
                "-A {chain} -p tcp -d {service} --dport {dport} -j REDIRECT --to-ports {port}"
            )?;
        }
    }
    text.push_str("COMMIT\n");
    let mut child = crate::process::inside(&namespace(name), Path::new("iptables-restore"))
        .arg("--noflush")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start iptables-restore")?;
    child
        .stdin
        .take()
        .context("no pipe to iptables-restore")?
        .write_all(text.as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        bail!("iptables-restore refused:\n{text}");
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("cannot start ip")?;
    if !output.status.success() {
        let arguments: Vec<_> = command
            .get_args()
            .map(|argument| argument.to_string_lossy())
            .collect();
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
