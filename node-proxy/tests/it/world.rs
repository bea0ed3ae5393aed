//! The ground of a test: pods as network namespaces around one node, and all the parts that make them a mesh.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weft_model::capture::CaptureSpec;
use weft_model::table::Tables;
use weft_netns::Netns;
use weft_redirect::{Flavour, Iptables, capture};

use crate::agent::Agent;
use crate::backend::{Backend, Seen};
use crate::client::Client;
use crate::mesh::Mesh;
use crate::proxy::{Proxy, Spawn};

/// Nothing that works takes this long; whoever waits longer has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// ClusterIP of `web`, whose endpoints are v1 and v2.
pub(crate) const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// ClusterIP of `one`, whose only endpoint is v1.
pub(crate) const ONE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 11);
/// ClusterIP of `far`, whose only endpoint is on another node.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 12);
/// ClusterIP of `six`, whose only endpoint is v1's IPv6 address.
pub(crate) const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10);
/// ClusterIP of `empty`, which has no endpoint.
pub(crate) const EMPTY: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 13);

/// Port of every service that is declared HTTP; the pods' is 8080.
pub(crate) const HTTP: u16 = 80;
/// Port of every service, and of the pods, that is declared TCP.
pub(crate) const TCP: u16 = 9000;
/// Port of every service, and of the pods, that declares nothing.
pub(crate) const ANY: u16 = 7000;
/// Where the pods' HTTP servers listen.
pub(crate) const APP: u16 = 8080;

/// A pod, or something outside that has an address.
pub(crate) struct Pod {
    pub(crate) name: &'static str,
    pub(crate) ns: Netns,
    pub(crate) ip: Ipv4Addr,
    pub(crate) ip6: Ipv6Addr,
}

impl Pod {
    /// Its uid in the manifests.
    pub(crate) fn uid(&self) -> String {
        format!("uid-{}", self.name)
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }
}

/// Everything. Fields are dropped in order: the proxy goes before what it needs.
pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) agent: Agent,
    pub(crate) mesh: Mesh,
    /// Captured, on this node.
    pub(crate) client: Pod,
    /// Captured, on this node, endpoint of `web` and `one`.
    pub(crate) v1: Pod,
    /// Captured, on this node, endpoint of `web`.
    pub(crate) v2: Pod,
    /// A pod of the mesh on another node: nothing is captured there.
    pub(crate) far: Pod,
    /// The node between them.
    pub(crate) node: Netns,
    pub(crate) dir: TempDir,
}

impl World {
    /// A world with one proxy that serves all three pods.
    pub(crate) fn new() -> Self {
        Self::with("", Spawn::default())
    }

    /// The same with more manifests.
    pub(crate) fn routed(manifests: &str) -> Self {
        Self::with(manifests, Spawn::default())
    }

    /// The same with more manifests and a proxy of one's own.
    pub(crate) fn with(manifests: &str, spawn: Spawn) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = namespace();
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            weft_netns::write_sysctl(&node, key, "1").unwrap();
        }
        ip(
            &node,
            "link add br0 type bridge\nlink set br0 up\naddress add 10.244.1.1/24 dev br0\n\
             address add fd00:244:1::1/64 dev br0 nodad\n",
        );
        let client = pod(&node, "client", [10, 244, 1, 10], true);
        let v1 = pod(&node, "v1", [10, 244, 1, 11], true);
        let v2 = pod(&node, "v2", [10, 244, 1, 12], true);
        let far = pod(&node, "far", [10, 244, 2, 5], false);
        let mesh = Mesh::start(manifests);
        let agent = Agent::start(dir.path());
        for pod in [&client, &v1, &v2] {
            agent.hold(pod);
            capture(&pod.ns, &CaptureSpec::default(), iptables()).unwrap();
        }
        let proxy = Proxy::spawn(dir.path(), &mesh, &spawn);
        agent.ready(proxy.pid());
        Self {
            proxy,
            agent,
            mesh,
            client,
            v1,
            v2,
            far,
            node,
            dir,
        }
    }

    /// The proxy's admin socket; there while it lives.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        let name = format!("proxy-{}.sock", self.proxy.pid());
        self.dir.path().join(name)
    }

    /// Starts another proxy beside the first one, and returns once it serves everything.
    pub(crate) fn another(&self, spawn: &Spawn) -> Proxy {
        let proxy = Proxy::spawn(self.dir.path(), &self.mesh, spawn);
        self.agent.ready(proxy.pid());
        proxy
    }

    /// Waits until the tables on the proxy's disk are as they should be.
    pub(crate) fn saved(&self, enough: impl Fn(&Tables) -> bool) {
        let file = self.dir.path().join("proxy").join(weft_tables::FILE);
        eventually("the tables are on disk", || {
            std::fs::read(&file)
                .is_ok_and(|bytes| enough(&weft_tables::decode(&bytes).unwrap().tables))
        });
    }

    /// An HTTP server in v1 that answers 200 with its name.
    pub(crate) fn web(&self) -> Backend {
        Backend::http(&self.v1, APP, |_| ok("v1"))
    }

    /// An HTTP server in v1 with answers of one's own.
    pub(crate) fn answering(
        &self,
        answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
    ) -> Backend {
        Backend::http(&self.v1, APP, answer)
    }

    /// A connection of the client pod to the HTTP port of `one`.
    pub(crate) fn dial(&self) -> Client {
        self.dial_to(ONE, HTTP)
    }

    /// A connection of the client pod.
    pub(crate) fn dial_to(&self, ip: impl Into<IpAddr>, port: u16) -> Client {
        Client::connect(&self.client, (ip.into(), port).into()).unwrap()
    }
}

/// A VirtualService of `web` with these rules.
pub(crate) fn rules_of_web(rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: web, namespace: shop}}\nspec:\n  hosts: [web]\n  http:\n{rules}"
    )
}

/// An answer with a body of known length.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Waits until `done` says so.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn iptables() -> &'static Iptables {
    static BACKEND: OnceLock<Iptables> = OnceLock::new();
    BACKEND.get_or_init(|| {
        let locks = std::env::temp_dir().join("weft-proxytest-locks");
        std::fs::create_dir_all(&locks).unwrap();
        Iptables::only(Flavour::Nft, locks)
    })
}

/// A namespace with loopback.
pub(crate) fn namespace() -> Netns {
    let ns =
        Netns::scratch().expect("these tests need root: a network namespace could not be made");
    for key in [
        "net.ipv6.conf.all.accept_dad",
        "net.ipv6.conf.default.accept_dad",
    ] {
        weft_netns::write_sysctl(&ns, key, "0").unwrap();
    }
    ip(&ns, "link set lo up\n");
    ns
}

/// A pod at the node's bridge, or routed beside it.
fn pod(node: &Netns, name: &'static str, ip4: [u8; 4], bridged: bool) -> Pod {
    let ns = namespace();
    let ip4 = Ipv4Addr::from(ip4);
    let there = format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd());
    let [_, _, net, host] = ip4.octets();
    let ip6: Ipv6Addr = format!("fd00:244:{net}::{host}").parse().unwrap();
    let (gate4, gate6) = (format!("10.244.{net}.1"), format!("fd00:244:{net}::1"));
    let mut setup = format!("link add v{name} type veth peer name eth0 netns {there}\n");
    if bridged {
        let _ = writeln!(setup, "link set v{name} master br0");
    } else {
        let _ = writeln!(
            setup,
            "address add {gate4}/24 dev v{name}\naddress add {gate6}/64 dev v{name} nodad"
        );
    }
    let _ = writeln!(setup, "link set v{name} up");
    ip(node, &setup);
    ip(
        &ns,
        &format!(
            "address add {ip4}/24 dev eth0\naddress add {ip6}/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via {gate4}\nroute add ::/0 via {gate6}\n"
        ),
    );
    Pod {
        name,
        ns,
        ip: ip4,
        ip6,
    }
}

/// TCP sockets of a namespace in a state, as `ss` prints them.
pub(crate) fn sockets(ns: &Netns, state: &str) -> String {
    let mut command = Command::new("ss");
    command.args(["-Htn", "state", state]);
    let out = ns.run(|| command.output()).unwrap().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// Runs a batch of `ip` commands inside a namespace.
pub(crate) fn ip(ns: &Netns, batch: &str) {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = ns.run(|| command.spawn()).unwrap().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(batch.as_bytes()).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    assert!(
        out.status.success(),
        "ip: {}\n{batch}",
        String::from_utf8_lossy(&out.stderr)
    );
}
