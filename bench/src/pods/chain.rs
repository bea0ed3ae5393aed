//! One pod's sandbox and the chain of plugins that the node's container runtime would execute for it, each call timed by
//! itself.

use std::{
    fs,
    io::Write as _,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use weft_lab::Node;
use weft_netns::Netns;

/// Where an agent waits for its tables, runtimes try again; a pod that still fails then counts as failed.
const TRIES: usize = 3;

/// Name of pod N.
pub(crate) fn name(n: usize) -> String {
    format!("pod-{n}")
}

/// Its uid.
pub(crate) fn uid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// A pod's namespace, and what its calls took.
pub(crate) struct Sandbox {
    number: usize,
    netns: Netns,
    result: Option<Value>,
    /// Our plugin's ADD.
    pub(crate) add: Option<Duration>,
    /// The plugins' before it.
    pub(crate) bridge: Option<Duration>,
    /// Our plugin's DEL.
    pub(crate) del: Option<Duration>,
    /// Calls that failed, in words.
    pub(crate) failures: Vec<String>,
}

impl Sandbox {
    /// An empty namespace with loopback, as runtimes prepare it.
    pub(crate) fn make(number: usize) -> anyhow::Result<Self> {
        let netns = Netns::scratch().context("cannot make a network namespace")?;
        let mut up = Command::new("ip");
        up.args(["link", "set", "lo", "up"]);
        if !netns.run(|| up.status())??.success() {
            bail!("loopback of a pod cannot be switched on");
        }
        Ok(Self {
            number,
            netns,
            result: None,
            add: None,
            bridge: None,
            del: None,
            failures: Vec::new(),
        })
    }

    /// Whether any rule or chain of ours is in it, in either flavour and family.
    pub(crate) fn has_rules(&self) -> anyhow::Result<bool> {
        for program in [
            "iptables-nft-save",
            "ip6tables-nft-save",
            "iptables-legacy-save",
        ] {
            let mut save = Command::new(program);
            let output = self.netns.run(|| save.output())?;
            let output = output.with_context(|| format!("cannot start {program}"))?;
            if String::from_utf8_lossy(&output.stdout).contains("WEFT") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn path(&self) -> String {
        let fd = self.netns.as_fd().as_raw_fd();
        format!("/proc/{}/fd/{fd}", std::process::id())
    }
}

/// The node's chain.
pub(crate) struct Chain<'a> {
    node: &'a Node,
    network: Value,
    plugins: Vec<Value>,
}

impl<'a> Chain<'a> {
    /// Reads the configuration that the agent has installed, which sorts first.
    pub(crate) fn of(node: &'a Node) -> anyhow::Result<Self> {
        let mut files: Vec<PathBuf> = fs::read_dir(&node.paths.cni_conf)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "conflist"))
            .collect();
        files.sort();
        let file = files.first().context("the node has no network")?;
        let network: Value = serde_json::from_slice(&fs::read(file)?)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        let plugins = network.get("plugins").and_then(Value::as_array).cloned();
        let plugins = plugins.unwrap_or_default();
        if plugins.last().and_then(|p| p.get("type")) != Some(&json!("weft-cni")) {
            bail!("{} does not end with weft-cni", file.display());
        }
        Ok(Self {
            node,
            network,
            plugins,
        })
    }

    /// ADD, forwards; a failure of ours is undone and tried again, as a kubelet does.
    pub(crate) fn add(&self, sandbox: &mut Sandbox) {
        for attempt in 1..=TRIES {
            match self.add_once(sandbox) {
                Ok(()) => return,
                Err(error) if attempt == TRIES => {
                    let failure = format!("ADD of {}: {error:#}", name(sandbox.number));
                    sandbox.failures.push(failure);
                }
                Err(_) => self.del(sandbox),
            }
        }
    }

    fn add_once(&self, sandbox: &mut Sandbox) -> anyhow::Result<()> {
        let mut before = Duration::ZERO;
        for (at, plugin) in self.plugins.iter().enumerate() {
            let begun = Instant::now();
            let result = self.call("ADD", plugin, sandbox)?;
            sandbox.result =
                Some(serde_json::from_slice(&result).context("the result is not JSON")?);
            if at + 1 == self.plugins.len() {
                sandbox.add = Some(begun.elapsed());
            } else {
                before += begun.elapsed();
            }
        }
        sandbox.bridge = Some(before);
        Ok(())
    }

    /// DEL, backwards.
    pub(crate) fn del(&self, sandbox: &mut Sandbox) {
        for (at, plugin) in self.plugins.iter().rev().enumerate() {
            let begun = Instant::now();
            if let Err(error) = self.call("DEL", plugin, sandbox) {
                let failure = format!("DEL of {}: {error:#}", name(sandbox.number));
                sandbox.failures.push(failure);
                return;
            }
            if at == 0 {
                sandbox.del = Some(begun.elapsed());
            }
        }
        sandbox.result = None;
    }

    fn call(&self, verb: &str, plugin: &Value, sandbox: &Sandbox) -> anyhow::Result<Vec<u8>> {
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut configuration = plugin.clone();
        for key in ["name", "cniVersion"] {
            configuration[key] = self.network.get(key).cloned().unwrap_or_default();
        }
        if let Some(result) = &sandbox.result {
            configuration["prevResult"] = result.clone();
        }
        let mut command = self.command(verb, kind, sandbox)?;
        let spawned = self.node.netns.run(|| command.spawn())?;
        let mut child = spawned.with_context(|| format!("cannot start {kind}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that fails early does not read: its answer says why.
            let _ = stdin.write_all(configuration.to_string().as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{kind}: {}", String::from_utf8_lossy(&output.stdout).trim());
        }
        Ok(output.stdout)
    }

    fn command(&self, verb: &str, kind: &str, sandbox: &Sandbox) -> anyhow::Result<Command> {
        let path = &self.node.paths.cni_path;
        let program = path
            .iter()
            .map(|directory| directory.join(kind))
            .find(|program| program.is_file())
            .with_context(|| format!("no plugin {kind} in {path:?}"))?;
        let directories: Vec<_> = path.iter().map(|p| p.to_string_lossy()).collect();
        let (name, uid) = (name(sandbox.number), uid(sandbox.number));
        let mut command = Command::new(program);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", format!("soak-{}", sandbox.number))
            .env("CNI_NETNS", sandbox.path())
            .env("CNI_IFNAME", weft_lab::cni::INTERFACE)
            .env("CNI_PATH", directories.join(":"))
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE=soak;K8S_POD_NAME={name};K8S_POD_UID={uid}"
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(command)
    }
}
