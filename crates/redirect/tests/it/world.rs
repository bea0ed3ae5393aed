//! The topology: a node with a bridge and two pods, and a third pod on "another node", routed. All dual stack. A test
//! speaks the family of its world; the other one is there and must not get in the way.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use weft_model::capture::CaptureSpec;
use weft_netns::Netns;
use weft_redirect::{Family, Flavour, Iptables, capture};

use crate::relay::{Hit, Relay, Way};

/// Port of the application in every pod.
pub(crate) const APP: u16 = 8080;

/// A pod: its namespace and its two addresses.
pub(crate) struct Pod {
    pub(crate) name: &'static str,
    pub(crate) ns: Netns,
    ips: [IpAddr; 2],
}

/// All of it.
pub(crate) struct World {
    pub(crate) family: Family,
    pub(crate) flavour: Flavour,
    pub(crate) backend: Iptables,
    pub(crate) node: Netns,
    /// Two pods on the node.
    pub(crate) a: Pod,
    pub(crate) b: Pod,
    /// A pod on another node.
    pub(crate) far: Pod,
    pub(crate) relay: Relay,
}

impl World {
    pub(crate) fn new(flavour: Flavour, family: Family) -> Self {
        let node = namespace();
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            weft_netns::write_sysctl(&node, key, "1").unwrap();
        }
        let mut setup = String::from("link add br0 type bridge\nlink set br0 up\n");
        for address in [
            "10.244.1.1/24",
            "169.254.169.254/32",
            "169.254.20.10/32",
            "203.0.113.9/32",
        ] {
            let _ = writeln!(setup, "address add {address} dev br0");
        }
        for address in [
            "fd00:10:244:1::1/64",
            "fe80::a9fe:a9fe/64",
            "2001:db8:9::9/128",
        ] {
            let _ = writeln!(setup, "address add {address} dev br0 nodad");
        }
        ip(&node, &setup);
        let a = pod(&node, "a", "10.244.1.2", "fd00:10:244:1::2", Some("br0"));
        let b = pod(&node, "b", "10.244.1.3", "fd00:10:244:1::3", Some("br0"));
        let far = pod(&node, "far", "10.244.2.2", "fd00:10:244:2::2", None);
        let backend = Iptables::only(flavour, lock_dir());
        Self {
            family,
            flavour,
            backend,
            node,
            a,
            b,
            far,
            relay: Relay::default(),
        }
    }

    /// Listeners first, then rules, as the agent does.
    pub(crate) fn capture(&mut self, pod: &str, spec: &CaptureSpec) {
        let pod = match pod {
            "a" => &self.a,
            "b" => &self.b,
            _ => &self.far,
        };
        self.relay.attend(pod.name, &pod.ns).unwrap();
        capture(&pod.ns, spec, &self.backend).unwrap();
    }

    pub(crate) fn capture_all(&mut self) {
        for pod in ["a", "b", "far"] {
            self.capture(pod, &CaptureSpec::default());
        }
    }

    /// One of two, by the family of this world.
    pub(crate) fn pick(&self, v4: &str, v6: &str) -> IpAddr {
        let text = if self.family == Family::V4 { v4 } else { v6 };
        text.parse().unwrap()
    }

    pub(crate) fn ip(&self, pod: &Pod) -> IpAddr {
        pod.ips[usize::from(self.family == Family::V6)]
    }

    /// Where the application of a pod is reached.
    pub(crate) fn app(&self, pod: &Pod) -> SocketAddr {
        (self.ip(pod), APP).into()
    }

    /// The node's address on the pod network.
    pub(crate) fn node_ip(&self) -> IpAddr {
        self.pick("10.244.1.1", "fd00:10:244:1::1")
    }

    pub(crate) fn any(&self) -> IpAddr {
        self.pick("0.0.0.0", "::")
    }

    /// What the relay saw since the last look is exactly this.
    pub(crate) fn saw(&self, expected: &[Hit]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(self.relay.hits(), expected);
    }

    pub(crate) fn leaving(&self, pod: &Pod, to: SocketAddr) -> Hit {
        (pod.name, Way::Out, to)
    }

    pub(crate) fn entering(&self, pod: &Pod, to: SocketAddr) -> Hit {
        (pod.name, Way::In, to)
    }

    /// Runs iptables of this world's family in the node's namespace, which stands for kube-proxy and the runtime.
    pub(crate) fn node_iptables(&self, args: &str) {
        let program = if self.family == Family::V4 {
            "iptables-nft"
        } else {
            "ip6tables-nft"
        };
        run(&self.node, program, &args.split(' ').collect::<Vec<_>>());
    }
}

/// An address and port as text, with brackets where the family needs them.
pub(crate) fn host_port(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}

/// A namespace with loopback, where addresses are usable at once.
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

fn pod(node: &Netns, name: &'static str, v4: &str, v6: &str, bridge: Option<&str>) -> Pod {
    let ns = namespace();
    let there = format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd());
    let mut setup = format!("link add v{name} type veth peer name eth0 netns {there}\n");
    match bridge {
        Some(bridge) => {
            let _ = writeln!(setup, "link set v{name} master {bridge}");
        }
        None => {
            let (gate4, gate6) = gates(v4, v6);
            let _ = writeln!(
                setup,
                "address add {gate4}/24 dev v{name}\naddress add {gate6}/64 dev v{name} nodad"
            );
        }
    }
    let _ = writeln!(setup, "link set v{name} up");
    ip(node, &setup);
    let (gate4, gate6) = gates(v4, v6);
    ip(
        &ns,
        &format!(
            "address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via {gate4}\nroute add ::/0 via {gate6}\n"
        ),
    );
    Pod {
        name,
        ns,
        ips: [v4.parse().unwrap(), v6.parse().unwrap()],
    }
}

/// The first address of each network.
fn gates(v4: &str, v6: &str) -> (String, String) {
    (
        format!("{}.1", v4.rsplit_once('.').unwrap().0),
        format!("{}::1", v6.rsplit_once("::").unwrap().0),
    )
}

/// Runs a batch of `ip` commands inside a namespace.
pub(crate) fn ip(ns: &Netns, batch: &str) {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = ns.run(|| command.spawn()).unwrap().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(batch.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(
        out.status.success(),
        "ip: {}\n{batch}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Runs a program inside a namespace and returns what it printed.
pub(crate) fn run(ns: &Netns, program: &str, args: &[&str]) -> String {
    let out = ns
        .run(|| Command::new(program).args(args).output())
        .unwrap()
        .unwrap();
    assert!(
        out.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn lock_dir() -> PathBuf {
    let dir = std::env::temp_dir().join("weft-redirect-test-locks");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
