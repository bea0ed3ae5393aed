//! One node: a namespace with the real bridge plugin, the agent's process, and the container runtime's half of CNI.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_model::id::{ObjectName, WorkloadId};
use weft_model::pod::{AccessLog, LocalPod, Mode};
use weft_model::workload::Workload;
use weft_netns::Netns;

use crate::operator::Operator;

/// Where Debian's containernetworking-plugins are.
const CNI_PATH: &str = "/usr/lib/cni";
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    tag: String,
    /// Third byte of the pods' network; tests run side by side.
    number: u32,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) operator: Operator,
    agent: Option<Child>,
    metrics: SocketAddr,
    node: Netns,
    plugin: PathBuf,
}

/// A pod's sandbox as the runtime made it.
pub(crate) struct Sandbox {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) path: PathBuf,
    pub(crate) netns: Netns,
    /// Result of the whole chain.
    pub(crate) result: Option<Value>,
    /// How long the last plugin of the chain took.
    pub(crate) last_call: Duration,
}

impl Sandbox {
    pub(crate) fn ip(&self) -> IpAddr {
        let result = self.result.as_ref().expect("the pod was added");
        let address = result["ips"][0]["address"].as_str().unwrap();
        address.split('/').next().unwrap().parse().unwrap()
    }

    /// Both families' rules and chains, without counters and comments.
    pub(crate) fn rules(&self) -> String {
        self.rules_of("nft")
    }

    /// Those of one flavour.
    pub(crate) fn rules_of(&self, flavour: &str) -> String {
        let mut text = String::new();
        for base in ["iptables", "ip6tables"] {
            let program = format!("{base}-{flavour}-save");
            let output = inside(&self.netns, Command::new(&program));
            assert!(output.status.success(), "{program}");
            let lines = String::from_utf8(output.stdout).unwrap();
            // Chains of the kernel's own appear with the first rule and stay, empty; that is no residue.
            let ours = |line: &&str| {
                line.starts_with("-A") || line.starts_with(':') && line.contains(" - ")
            };
            for line in lines.lines().filter(ours) {
                text.push_str(line.split(" [").next().unwrap());
                text.push('\n');
            }
        }
        text
    }

    /// Everything of ours that could be left in the namespace.
    pub(crate) fn assert_clean(&self) {
        // DEL does not wait for the agent.
        eventually("nothing of ours is in the namespace", || {
            let routes = inside(&self.netns, command("ip", &["rule"]));
            !String::from_utf8_lossy(&routes.stdout).contains("0x5e8")
                && ["nft", "legacy"]
                    .iter()
                    .all(|flavour| !self.rules_of(flavour).contains("WEFT"))
        });
        // The proxy closes its copies when it has heard of it.
        eventually("both listeners are closed", || {
            let sockets = inside(&self.netns, command("ss", &["-Hltn"]));
            let sockets = String::from_utf8_lossy(&sockets.stdout).into_owned();
            !sockets.contains(":15001") && !sockets.contains(":15006")
        });
    }
}

pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Runs a program inside a namespace.
pub(crate) fn inside(ns: &Netns, mut command: Command) -> Output {
    let child = ns
        .run(|| {
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })
        .unwrap();
    child
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
        .wait_with_output()
        .unwrap()
}

fn ip(args: &str) {
    let output = Command::new("ip")
        .args(args.split(' '))
        .output()
        .expect("iproute2 is installed");
    assert!(
        output.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Nothing that works takes this long, not even a war for the conflist (five seconds of an idle machine); whoever waits
/// longer has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

impl World {
    /// A node with a primary network configuration of the version, the agent running and ready.
    pub(crate) fn start(version: &str) -> Self {
        let mut world = Self::without_agent();
        world.primary(version, 1450);
        world.operator.set(|pods| {
            pods.push(pod(
                "kube-system",
                "dns",
                Mode::Disabled("namespace".into()),
                vec![],
            ))
        });
        world.start_agent();
        world.wait_ready();
        world
    }

    pub(crate) fn without_agent() -> Self {
        assert_eq!(
            nix::unistd::geteuid().as_raw(),
            0,
            "these tests make network namespaces: run them as root"
        );
        let plugin = plugin();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let tag = format!("agent{}-{number}", std::process::id());
        let dir = tempfile::Builder::new()
            .prefix("weft-agent-")
            .tempdir()
            .unwrap();
        for sub in ["bin", "conf", "run", "state"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        ip(&format!("netns add {tag}-node"));
        ip(&format!("-n {tag}-node link set lo up"));
        let node = Netns::open(Path::new(&format!("/run/netns/{tag}-node"))).unwrap();
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let operator = Operator::start();
        Self {
            tag,
            number,
            dir,
            operator,
            agent: None,
            metrics: free,
            node,
            plugin,
        }
    }

    pub(crate) fn path(&self, sub: &str) -> PathBuf {
        self.dir.path().join(sub)
    }

    /// Name of the primary's network.
    pub(crate) fn network(&self) -> String {
        self.tag.clone()
    }

    /// Open descriptors of the agent.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.agent.as_ref().expect("an agent runs").id();
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    }

    /// The node's own network.
    pub(crate) fn node(&self) -> &Netns {
        &self.node
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// Writes the primary's conflist: bridge, dual stack, in the node's namespace.
    pub(crate) fn primary(&self, version: &str, mtu: u32) {
        let (pid, number) = (std::process::id() % 100, self.number);
        let ranges = json!([
            [{"subnet": format!("10.{}.{number}.0/24", 100 + pid)}],
            [{"subnet": format!("fd00:{pid}:{number}::/64")}],
        ]);
        let conflist = json!({"cniVersion": version, "name": format!("{}", self.tag), "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "mtu": mtu,
            "ipam": {"type": "host-local", "dataDir": self.path("ipam"), "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]},
        }]});
        let staged = self.path("conf/staged");
        std::fs::write(&staged, serde_json::to_vec_pretty(&conflist).unwrap()).unwrap();
        std::fs::rename(staged, self.path("conf/10-bridge.conflist")).unwrap();
    }

    pub(crate) fn start_agent(&mut self) {
        self.start_agent_with(&[]);
    }

    pub(crate) fn start_agent_with(&mut self, more: &[&str]) {
        self.start_agent_in(&[], more);
    }

    /// Starts it by another program, which becomes what follows its own arguments.
    pub(crate) fn start_agent_in(&mut self, by: &[String], more: &[&str]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("agent.log"))
            .unwrap();
        let dir = |sub: &str| self.path(sub).display().to_string();
        let words: Vec<&str> = by.iter().map(String::as_str).collect();
        let words = [&words[..], &[env!("CARGO_BIN_EXE_weft-agent")]].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .env_remove("RUST_BACKTRACE")
            .args([
                "--node-name",
                "n1",
                "--run-dir",
                &dir("run"),
                "--state-dir",
                &dir("state"),
            ])
            .args(["--operator", &format!("http://{}", self.operator.address)])
            .args(["--cni-bin-dir", &dir("bin"), "--cni-conf-dir", &dir("conf")])
            .args([
                "--plugin",
                &self.plugin.display().to_string(),
                "--netns-dir",
                "/run/netns",
            ])
            .args([
                "--metrics-listen",
                &self.metrics.to_string(),
                "--log-level",
                "info,weft_agent=debug",
            ])
            .args(more)
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    /// kill -9.
    pub(crate) fn kill_agent(&mut self) {
        let mut child = self.agent.take().expect("an agent runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop_agent(&mut self) {
        let mut child = self.agent.take().expect("an agent runs");
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let begun = Instant::now();
        eventually("the agent has stopped", || {
            child.try_wait().unwrap().is_some_and(|status| {
                assert!(status.success(), "{status}");
                true
            })
        });
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    pub(crate) fn wait_ready(&self) {
        eventually("the agent is ready", || {
            self.get("/healthz/ready").starts_with("HTTP/1.1 200")
        });
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.metrics) else {
            return String::new();
        };
        let _ = write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    /// The value of a series in the agent's metrics.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no series {series} in {text}"))
            .parse()
            .unwrap()
    }

    /// The operator names a pod of `shop` that is bound to this node.
    pub(crate) fn bind(&self, name: &str, mode: Mode, ips: Vec<IpAddr>) {
        self.operator
            .publish(|pods| pods.push(pod("shop", name, mode, ips)));
    }

    /// How many pods the agent says are captured.
    pub(crate) fn captured(&self) -> f64 {
        self.metric("weft_agent_pods{state=\"captured\"}")
    }

    /// Makes an empty sandbox for a pod.
    pub(crate) fn sandbox(&self, namespace: &str, name: &str, container: &str) -> Sandbox {
        let netns = format!("{}-{container}", self.tag);
        ip(&format!("netns add {netns}"));
        ip(&format!("-n {netns} link set lo up"));
        let path = PathBuf::from(format!("/run/netns/{netns}"));
        Sandbox {
            uid: format!("uid-{name}"),
            namespace: namespace.into(),
            name: name.into(),
            container: container.into(),
            netns: Netns::open(&path).unwrap(),
            path,
            result: None,
            last_call: Duration::ZERO,
        }
    }

    /// The plugins of the conflist that the runtime would use.
    fn conflist(&self) -> Value {
        let mut names: Vec<PathBuf> = std::fs::read_dir(self.path("conf"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        serde_json::from_slice(&std::fs::read(&names[0]).unwrap()).unwrap()
    }

    /// Runs the chain for one verb; the error is the first plugin's that failed.
    pub(crate) fn chain(&self, verb: &str, sandbox: &mut Sandbox) -> Result<(), Value> {
        let list = self.conflist();
        let mut plugins = list["plugins"].as_array().unwrap().clone();
        if verb == "DEL" {
            plugins.reverse();
        }
        for mut plugin in plugins {
            plugin["cniVersion"] = list["cniVersion"].clone();
            plugin["name"] = list["name"].clone();
            if let Some(result) = sandbox.result.clone() {
                plugin["prevResult"] = result;
            }
            let begun = Instant::now();
            let output = self.call(verb, sandbox, &plugin);
            sandbox.last_call = begun.elapsed();
            if !output.status.success() {
                return Err(serde_json::from_slice(&output.stdout).unwrap());
            }
            if verb == "ADD" {
                sandbox.result = Some(serde_json::from_slice(&output.stdout).unwrap());
            }
        }
        if verb == "DEL" {
            sandbox.result = None;
        }
        Ok(())
    }

    /// Calls one plugin.
    pub(crate) fn call(&self, verb: &str, sandbox: &Sandbox, config: &Value) -> Output {
        let name = config["type"].as_str().unwrap();
        let own = self.path("bin").join(name);
        let binary = if own.exists() {
            own
        } else {
            Path::new(CNI_PATH).join(name)
        };
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
            sandbox.namespace, sandbox.name, sandbox.uid
        );
        let mut command = Command::new(&binary);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &sandbox.container)
            .env("CNI_NETNS", &sandbox.path)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", CNI_PATH)
            .env("CNI_ARGS", args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .node
            .run(|| command.spawn())
            .unwrap()
            .unwrap_or_else(|e| panic!("{binary:?}: {e}"));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&serde_json::to_vec(config).unwrap())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// A pod with its sandbox in one go.
    pub(crate) fn added(&self, namespace: &str, name: &str) -> Sandbox {
        let mut sandbox = self.sandbox(namespace, name, name);
        eventually("ADD", || match self.chain("ADD", &mut sandbox) {
            Ok(()) => true,
            // "Try again later": a kubelet tears the sandbox down and does.
            Err(error) if error["code"] == 11 => {
                self.chain("DEL", &mut sandbox).unwrap();
                false
            }
            Err(error) => panic!("ADD of {name}: {error}\n{}", self.log()),
        });
        sandbox
    }

    /// Connects from the node to the pod.
    pub(crate) fn connect(&self, to: SocketAddr) -> TcpStream {
        connect(&self.node, to)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.agent.is_some() {
            self.kill_agent();
        }
        if thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
        for entry in std::fs::read_dir("/run/netns")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().into_string().unwrap_or_default();
            if name.starts_with(&format!("{}-", self.tag)) {
                let _ = Command::new("ip").args(["netns", "delete", &name]).status();
            }
        }
    }
}

/// A pod as the operator names it.
pub(crate) fn pod(namespace: &str, name: &str, mode: Mode, ips: Vec<IpAddr>) -> LocalPod {
    let text = |s: &str| s.to_owned();
    let workload = Workload {
        id: WorkloadId(1),
        uid: format!("uid-{name}"),
        pod: ObjectName::new(namespace, name),
        node: text("n1"),
        ips,
        service_account: text("default"),
        workload: text(name),
        app: text(name),
        version: text("latest"),
        canonical_service: text(name),
        canonical_revision: text("latest"),
        cluster: text("Kubernetes"),
        labels: [].into(),
        captured: mode == Mode::Enabled,
        ingress_policy: false,
        egress_policy: false,
        services: vec![],
    };
    LocalPod {
        api_uid: None,
        workload,
        mode,
        capture: Default::default(),
        access_log: AccessLog::Off,
    }
}

/// An application in a pod: it says who called, then echoes.
pub(crate) fn echo(ns: &Netns, port: u16) {
    let listener: OwnedFd = weft_netns::listen_in(ns, port, true, 64).unwrap();
    weft_netns::set_nonblocking(&listener, false).unwrap();
    let listener = TcpListener::from(listener);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let peer = stream
                    .peer_addr()
                    .map(|a| a.ip().to_canonical().to_string())
                    .unwrap_or_default();
                let _ = writeln!(stream, "{peer}");
                let mut reading = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut reading, &mut stream);
            });
        }
    });
}

/// Connects from inside a namespace; reads who the server thinks we are.
pub(crate) fn connect(ns: &Netns, to: SocketAddr) -> TcpStream {
    let stream = ns
        .run(|| TcpStream::connect_timeout(&to, PATIENCE))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The first line that the application sends.
pub(crate) fn greeting(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Sends a word and expects it back.
pub(crate) fn ping(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).unwrap();
    let mut back = vec![0; word.len()];
    stream
        .read_exact(&mut back)
        .unwrap_or_else(|e| panic!("the echo of {word}: {e}"));
    assert_eq!(back, word.as_bytes());
}

/// The plugin's binary, built beside ours.
fn plugin() -> PathBuf {
    let agent = Path::new(env!("CARGO_BIN_EXE_weft-agent"));
    let plugin = agent.with_file_name("weft-cni");
    static BUILD: std::sync::Once = std::sync::Once::new();
    BUILD.call_once(|| {
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "build",
            "-q",
            "-p",
            "weft-cni",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        if let Some(target) = agent.parent().and_then(Path::parent) {
            command.env("CARGO_TARGET_DIR", target);
        }
        assert!(
            command.status().unwrap().success(),
            "weft-cni cannot be built"
        );
    });
    plugin
}
