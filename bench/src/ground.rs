//! The peers' ground: one node and its pods as network namespaces, a bridge between them, a Service address for each
//! peer whose traffic the node's NAT table redirects to that peer, as a mesh with a proxy per node would do.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use weft_netns::Netns;

/// Where the backend answers HTTP.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where it sends bytes.
pub(crate) const BULK_PORT: u16 = 9090;
/// The Service's port.
pub(crate) const SERVICE_PORT: u16 = 80;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 3);
/// A client whose own namespace holds the proxy: the control.
const SIDECAR: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 4);

/// Namespaces, links and redirections; they vanish with this process.
///
/// The namespaces have no names below /run/netns: `ip netns add` would make that mount shared, and the lab's containers,
/// which take it off in mount namespaces of their own, would take it off everywhere.
#[derive(Debug)]
pub(crate) struct Ground {
    node: Netns,
    client: Netns,
    server: Netns,
    sidecar: Netns,
}

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
    /// Builds it all.
    pub(crate) fn build(redirects: &[Redirect]) -> anyhow::Result<Self> {
        let node = namespace()?;
        ip(&node, "link add cni0 type bridge")?;
        ip(&node, &format!("addr add {GATEWAY}/24 dev cni0"))?;
        ip(&node, "link set cni0 up")?;
        node.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .context("cannot let the node forward")?;
        let ground = Self {
            client: pod(&node, "client", CLIENT)?,
            server: pod(&node, "server", SERVER)?,
            sidecar: pod(&node, "sidecar", SIDECAR)?,
            node,
        };
        let (in_pod, in_node): (Vec<_>, Vec<_>) = redirects.iter().partition(|r| r.in_pod);
        redirect(&ground.node, "PREROUTING", &in_node)?;
        redirect(&ground.sidecar, "OUTPUT", &in_pod)?;
        Ok(ground)
    }

    /// File of the node's namespace.
    pub(crate) fn node(&self) -> PathBuf {
        file(&self.node)
    }

    /// File of the ordinary client's namespace.
    pub(crate) fn client(&self) -> PathBuf {
        file(&self.client)
    }

    /// File of the control's namespace.
    pub(crate) fn sidecar(&self) -> PathBuf {
        file(&self.sidecar)
    }

    /// File of the backend's namespace.
    pub(crate) fn server(&self) -> PathBuf {
        file(&self.server)
    }

    /// The backend's address at `port`.
    pub(crate) fn backend(&self, port: u16) -> SocketAddr {
        SocketAddr::from((SERVER, port))
    }
}

/// A path to a namespace that this process holds open, for programs that are told one by path.
pub(crate) fn file(namespace: &Netns) -> PathBuf {
    let fd = namespace.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
}

fn namespace() -> anyhow::Result<Netns> {
    let namespace = Netns::scratch().context("cannot make a network namespace")?;
    ip(&namespace, "link set lo up")?;
    Ok(namespace)
}

fn pod(node: &Netns, name: &str, address: Ipv4Addr) -> anyhow::Result<Netns> {
    let pod = namespace()?;
    let other = file(node);
    ip(
        &pod,
        &format!(
            "link add eth0 type veth peer name veth-{name} netns {}",
            other.display()
        ),
    )?;
    ip(node, &format!("link set veth-{name} master cni0 up"))?;
    ip(&pod, &format!("addr add {address}/24 dev eth0"))?;
    ip(&pod, "link set eth0 up")?;
    ip(&pod, &format!("route add default via {GATEWAY}"))?;
    Ok(pod)
}

fn ip(namespace: &Netns, arguments: &str) -> anyhow::Result<()> {
    let output = crate::process::inside(&file(namespace), Path::new("ip"))
        .args(arguments.split(' '))
        .output()
        .context("cannot start nsenter")?;
    if !output.status.success() {
        bail!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// One `iptables-restore` for all rules of a namespace.
fn redirect(namespace: &Netns, chain: &str, redirects: &[&Redirect]) -> anyhow::Result<()> {
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
    let mut child = crate::process::inside(&file(namespace), Path::new("iptables-restore"))
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
