//! The lab as a whole: `up` makes it, verbs act on it, `down` ends it in order.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use weft_netns::Netns;

use crate::control::run::{Control, Parts, start};
use crate::daemon::{Daemon, Launch, Part, address};
use crate::event::{Event, Report};
use crate::kubelet::Kubelet;
use crate::object::{Key, Objects, text};
use crate::preflight;
use crate::topology::{self, Node, ROOT_IP};
use crate::verb::http;
use crate::view::{Pod, View};

/// Port of the table stream.
const TABLES_PORT: u16 = 15012;
/// Added to the ports of a second proxy.
const SECOND_PORTS: u16 = 10;
/// Late pods that an error names.
const NAMED: usize = 3;
/// Between two looks at the operator's list of nodes.
const SYNC_PERIOD: Duration = Duration::from_millis(10);

/// What the lab is made of.
#[derive(Clone)]
pub struct LabConfig {
    /// Directory of the room; the lab makes `nodes/`, `state/`, `pods/` and `logs/` in it.
    pub directory: PathBuf,
    /// Directory of `weft-sample`, `weft-operator`, `weft-agent`, `weft-proxy` and `weft-cni`.
    pub binaries: PathBuf,
    /// The user's manifests; watched. `Lab::apply` writes here.
    pub manifests: PathBuf,
    /// More directories of manifests, read and watched after the first.
    pub more_manifests: Vec<PathBuf>,
    /// How many nodes.
    pub nodes: u8,
    /// Pods get IPv6 addresses too.
    pub ipv6: bool,
    /// Start Weft; without it, pods have the bridge plugin only.
    pub mesh: bool,
    /// More flags for a daemon, `["--name", "value", …]`; they replace the lab's own of the same name.
    pub flags: BTreeMap<Part, Vec<String>>,
    /// Output of daemons and containers; below `directory` unless it shall outlive the room.
    pub logs: PathBuf,
    /// Hears what happens.
    pub report: Report,
}

impl LabConfig {
    /// Two nodes, IPv6, the mesh on.
    #[must_use]
    pub fn new(directory: &Path, binaries: &Path, manifests: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            binaries: binaries.to_owned(),
            manifests: manifests.to_owned(),
            more_manifests: Vec::new(),
            nodes: 2,
            ipv6: true,
            mesh: true,
            flags: BTreeMap::new(),
            logs: directory.join("logs"),
            report: crate::event::silent(),
        }
    }

    /// State directory that the operator reads after the user's.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn directories(&self) -> Vec<PathBuf> {
        std::iter::once(&self.manifests)
            .chain(&self.more_manifests)
            .cloned()
            .collect()
    }

    fn binary(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.binaries.join(name);
        if !path.is_file() {
            bail!(
                "{} does not exist; `cargo xtask build` makes it",
                path.display()
            );
        }
        Ok(path)
    }
}

/// By part and node (empty for the operator).
type Daemons = BTreeMap<(Part, String), Daemon>;

/// A running lab. Dropping it kills its processes; the room takes the rest.
pub struct Lab {
    config: LabConfig,
    root: Netns,
    nodes: Vec<Arc<Node>>,
    control: Control,
    daemons: Mutex<Daemons>,
}

impl Lab {
    /// Builds the network, starts the daemons, then the pods of the user's manifests. Does not wait for the pods.
    ///
    /// # Errors
    /// A tool or binary is missing (all of them are named), or a part does not start.
    pub async fn up(config: LabConfig) -> anyhow::Result<Self> {
        let missing = preflight::missing();
        if !missing.is_empty() {
            bail!(
                "this machine cannot run a lab yet:\n  {}",
                missing.join("\n  ")
            );
        }
        let sample = config.binary("weft-sample")?;
        if config.mesh {
            for name in ["weft-operator", "weft-agent", "weft-proxy", "weft-cni"] {
                config.binary(name)?;
            }
        }
        let pods = config.directory.join("pods");
        for directory in [&pods, &config.state(), &config.logs] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let resolv = config.directory.join("resolv.conf");
        // Names come from the hosts file; a question to a server that is not there fails at once.
        fs::write(
            &resolv,
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )?;
        let root = Netns::current()?;
        let nodes = topology::build(&config.directory, config.nodes, config.ipv6)?;
        (config.report)(Event::Step(format!("{} nodes", nodes.len())));
        let objects = node_objects(&nodes, config.ipv6);
        crate::control::state::StateDirectory::new(&config.state())?.sync(&objects)?;
        let daemons = Mutex::new(BTreeMap::new());
        let (tell, updates) = mpsc::unbounded_channel();
        let kubelets = nodes.iter().map(|node| {
            let kubelet = Kubelet {
                node: Arc::clone(node),
                sample: sample.clone(),
                logs: config.logs.clone(),
                resolv: resolv.clone(),
                updates: tell.clone(),
            };
            (node.name.clone(), Arc::new(kubelet))
        });
        let parts = Parts {
            manifests: config.directories(),
            state: config.state(),
            pods,
            nodes: objects,
            kubelets: kubelets.collect(),
            updates,
            report: Arc::clone(&config.report),
        };
        if config.mesh {
            start_mesh(&config, &root, &nodes, &daemons).await?;
        }
        let control = start(parts)?;
        Ok(Self {
            config,
            root,
            nodes,
            control,
            daemons,
        })
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The root's network namespace, in which load may be driven from outside all nodes.
    #[must_use]
    pub fn root(&self) -> &Netns {
        &self.root
    }

    /// What was asked for.
    #[must_use]
    pub fn config(&self) -> &LabConfig {
        &self.config
    }

    /// Pods and Services as they are now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.control.view().borrow())
    }

    /// To follow the views.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.control.view()
    }

    /// Writes a manifest file into the user's directory and returns once the lab has read it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn apply(&self, file: &str, manifests: &str) -> anyhow::Result<()> {
        let path = self.config.manifests.join(file);
        let temporary = self.config.manifests.join(format!(".{file}.new"));
        fs::write(&temporary, manifests)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.control.rescan().await;
        Ok(())
    }

    /// Removes a manifest file from the user's directory and returns once the lab has read it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub async fn delete(&self, file: &str) -> anyhow::Result<()> {
        let path = self.config.manifests.join(file);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        self.control.rescan().await;
        Ok(())
    }

    /// Waits until every wanted pod is ready and no other pod is left.
    ///
    /// # Errors
    /// Not within `deadline`; names the pods that are late and why.
    pub async fn settled(&self, deadline: Duration) -> anyhow::Result<Arc<View>> {
        self.control.rescan().await;
        self.wait(deadline, |view| view.settled).await
    }

    /// Waits for any condition on the view.
    ///
    /// # Errors
    /// Not within `deadline`; names the pods that are not ready and why.
    pub async fn wait(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&View) -> bool,
    ) -> anyhow::Result<Arc<View>> {
        let mut views = self.control.view();
        let found = tokio::time::timeout(deadline, views.wait_for(|view| condition(view))).await;
        if let Ok(Ok(view)) = found {
            return Ok(Arc::clone(&view));
        }
        let view = self.view();
        let late: Vec<&Pod> = view.pods.values().filter(|pod| !pod.ready).collect();
        let mut words: Vec<String> = late.iter().take(NAMED).map(|pod| late_words(pod)).collect();
        if late.len() > NAMED {
            words.push(format!("and {} more", late.len() - NAMED));
        }
        bail!(
            "not settled within {deadline:?}; not ready:\n  {}",
            words.join("\n  ")
        )
    }

    /// A ready pod of a Deployment (or the pod of that name).
    ///
    /// # Errors
    /// There is none.
    pub fn pod(&self, namespace: &str, owner: &str) -> anyhow::Result<Pod> {
        let view = self.view();
        let found = view.pod(namespace, owner).cloned();
        found.with_context(|| format!("there is no pod of {namespace}/{owner}"))
    }

    /// Waits until the operator has read every manifest as it lies on the disk, and every agent and proxy has
    /// acknowledged the tables made of them.
    ///
    /// # Errors
    /// Not within `deadline`; quotes the file that was not read, or the operator's list of nodes.
    pub async fn synced(&self, deadline: Duration) -> anyhow::Result<()> {
        let started = tokio::time::Instant::now();
        loop {
            let read = self
                .operator("/debug/manifests")
                .await
                .unwrap_or(Value::Null);
            let Some(unread) = self.unread(&read) else {
                break;
            };
            if started.elapsed() > deadline {
                bail!(
                    "the operator has not read {} within {deadline:?}",
                    unread.display()
                );
            }
            tokio::time::sleep(SYNC_PERIOD).await;
        }
        loop {
            let nodes = self.operator("/debug/nodes").await.unwrap_or(Value::Null);
            if all_acknowledged(&nodes, 2 * self.nodes.len()) {
                return Ok(());
            }
            if started.elapsed() > deadline {
                bail!("the nodes have not acknowledged the tables within {deadline:?}: {nodes}");
            }
            tokio::time::sleep(SYNC_PERIOD).await;
        }
    }

    /// A manifest that the operator has not read in its present state; `read` is its own list.
    fn unread(&self, read: &Value) -> Option<PathBuf> {
        let mut directories = self.config.directories();
        directories.push(self.config.state());
        let files = directories
            .iter()
            .filter_map(|directory| std::fs::read_dir(directory).ok())
            .flatten()
            .flatten();
        files.map(|file| file.path()).find(|path| {
            let manifest = path
                .extension()
                .is_some_and(|kind| kind == "yaml" || kind == "json");
            let Ok(metadata) = std::fs::metadata(path) else {
                return false;
            };
            let changed = serde_json::json!([metadata.ctime(), metadata.ctime_nsec()]);
            manifest && read.get(path.to_string_lossy().as_ref()) != Some(&changed)
        })
    }

    /// JSON of one of the operator's pages (`/debug/nodes`, `/debug/diagnostics`).
    ///
    /// # Errors
    /// The operator does not answer 200 with JSON.
    pub async fn operator(&self, path: &str) -> anyhow::Result<Value> {
        let port = Part::Operator.metrics_port();
        let response = http::get(address(ROOT_IP, port), path).await?;
        if response.status != 200 {
            bail!("operator {path}: {}", response.status);
        }
        Ok(serde_json::from_slice(&response.body)?)
    }

    /// Addresses of `/metrics` of all proxies.
    #[must_use]
    pub fn proxy_metrics(&self) -> Vec<SocketAddr> {
        let daemons = self.lock();
        let own = |node: &Node| {
            daemons
                .get(&(Part::Proxy, node.name.clone()))
                .map(Daemon::metrics)
        };
        let usual = |node: &Node| address(node.ip(), Part::Proxy.metrics_port());
        self.nodes
            .iter()
            .map(|node| own(node).unwrap_or_else(|| usual(node)))
            .collect()
    }

    /// CNI CHECK of a pod, as a runtime would call it.
    ///
    /// # Errors
    /// The pod is not attached, or a plugin finds it changed.
    pub async fn check(&self, pod: &Pod) -> anyhow::Result<()> {
        let node = self.node(&pod.node).context("its node does not exist")?;
        let attachment = pod.attachment.as_ref().context("it is not attached yet")?;
        Ok(node.runtime().check(attachment).await?)
    }

    /// Starts a second proxy on a node, on ports of its own as a surging DaemonSet's pod has an address of its own, waits
    /// until it is ready, takes it into care and gives the first: the agent tells that one to drain.
    ///
    /// # Errors
    /// No proxy runs there, or the second does not become ready; the first stays in care then.
    pub async fn succeed(&self, node: &str) -> anyhow::Result<Daemon> {
        let old = self.take(Part::Proxy, node)?;
        let usual = Part::Proxy.metrics_port();
        let shift = if old.metrics().port() == usual {
            SECOND_PORTS
        } else {
            0
        };
        let next = launch(
            &self.config,
            &self.root,
            &self.nodes,
            Part::Proxy,
            node,
            shift,
        );
        let ready = match next {
            Ok(mut next) => next.wait_ready().await.map(|()| next),
            Err(error) => Err(error),
        };
        match ready {
            Ok(next) => {
                self.put(Part::Proxy, node, next);
                Ok(old)
            }
            Err(error) => {
                self.put(Part::Proxy, node, old);
                Err(error)
            }
        }
    }

    /// Starts a daemon (`node` is empty for the operator) and waits until it is ready.
    ///
    /// # Errors
    /// It runs already, or does not become ready.
    pub async fn start(&self, part: Part, node: &str) -> anyhow::Result<()> {
        self.start_unready(part, node)?;
        let mut daemon = self.take(part, node)?;
        let ready = daemon.wait_ready().await;
        self.put(part, node, daemon);
        ready
    }

    /// Starts a daemon without waiting.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start_unready(&self, part: Part, node: &str) -> anyhow::Result<()> {
        let daemon = launch(&self.config, &self.root, &self.nodes, part, node, 0)?;
        let mut daemons = self.lock();
        if daemons.contains_key(&(part, node.to_owned())) {
            bail!("{} runs already; stop it first", daemon.name());
        }
        daemons.insert((part, node.to_owned()), daemon);
        Ok(())
    }

    /// SIGTERM. True when it ended by itself with code 0.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop(&self, part: Part, node: &str) -> anyhow::Result<bool> {
        Ok(self.take(part, node)?.stop().await?)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self, part: Part, node: &str) -> anyhow::Result<()> {
        Ok(self.take(part, node)?.kill().await?)
    }

    /// Takes a daemon out of the lab's care, for instance to start its successor beside it.
    ///
    /// # Errors
    /// It does not run.
    pub fn take(&self, part: Part, node: &str) -> anyhow::Result<Daemon> {
        let mut daemons = self.lock();
        let found = daemons.remove(&(part, node.to_owned()));
        found.with_context(|| format!("{} does not run on `{node}`", part.binary()))
    }

    /// Puts one under it again.
    pub fn put(&self, part: Part, node: &str, daemon: Daemon) {
        let mut daemons = self.lock();
        daemons.insert((part, node.to_owned()), daemon);
    }

    /// Process id of a daemon.
    #[must_use]
    pub fn pid(&self, part: Part, node: &str) -> Option<u32> {
        let daemons = self.lock();
        daemons.get(&(part, node.to_owned())).map(Daemon::pid)
    }

    /// Starts daemons again that have ended without being asked to, as a DaemonSet would; says which, how they ended and
    /// what they said last.
    #[must_use]
    pub fn revive(&self) -> Vec<String> {
        let mut daemons = self.lock();
        let mut news = Vec::new();
        for ((part, node), daemon) in daemons.iter_mut() {
            let Some(status) = daemon.ended() else {
                continue;
            };
            let (name, words) = (daemon.name().to_owned(), daemon.last_words());
            match launch(&self.config, &self.root, &self.nodes, *part, node, 0) {
                Ok(next) => {
                    *daemon = next;
                    news.push(format!("{name} has ended ({status}) and was started again"));
                }
                Err(error) => {
                    let how = format!("{name} has ended ({status}) and cannot be started again");
                    news.push(format!("{how}: {error:#}\n{words}"));
                }
            }
        }
        news
    }

    /// Stops pods, then proxies, agents and operator. Names the daemons that did not end by themselves with code 0.
    ///
    /// # Errors
    /// A process cannot be waited for.
    pub async fn down(self) -> anyhow::Result<Vec<String>> {
        self.control.stop().await;
        let daemons = self
            .daemons
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut unruly = Vec::new();
        for (_, daemon) in daemons.into_iter().rev() {
            let name = daemon.name().to_owned();
            if !daemon.stop().await? {
                unruly.push(name);
            }
        }
        Ok(unruly)
    }
}

impl Lab {
    fn lock(&self) -> MutexGuard<'_, Daemons> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn late_words(pod: &Pod) -> String {
    let Pod {
        namespace,
        name,
        waiting,
        ..
    } = pod;
    match pod.terminating {
        true => format!("{namespace}/{name} is still being stopped"),
        false => format!("{namespace}/{name}: {waiting}"),
    }
}

fn node_objects(nodes: &[Arc<Node>], ipv6: bool) -> Objects {
    nodes
        .iter()
        .map(|n| (Key::new("Node", "", &n.name), n.object(ipv6)))
        .collect()
}

/// Operator first, then agents and proxies of all nodes at once: an agent is ready once a proxy may be needed.
async fn start_mesh(
    config: &LabConfig,
    root: &Netns,
    nodes: &[Arc<Node>],
    daemons: &Mutex<Daemons>,
) -> anyhow::Result<()> {
    for part in [Part::Operator, Part::Agent, Part::Proxy] {
        let names: Vec<&str> = match part {
            Part::Operator => vec![""],
            Part::Agent | Part::Proxy => nodes.iter().map(|n| n.name.as_str()).collect(),
        };
        let mut started = Vec::new();
        for name in names {
            started.push((name, launch(config, root, nodes, part, name, 0)?));
        }
        for (name, mut daemon) in started {
            daemon.wait_ready().await?;
            (config.report)(Event::Step(daemon.name().to_owned()));
            let mut daemons = daemons.lock().unwrap_or_else(PoisonError::into_inner);
            daemons.insert((part, name.to_owned()), daemon);
        }
    }
    Ok(())
}

fn launch(
    config: &LabConfig,
    root: &Netns,
    nodes: &[Arc<Node>],
    part: Part,
    node: &str,
    shift: u16,
) -> anyhow::Result<Daemon> {
    let own = config.flags.get(&part).cloned().unwrap_or_default();
    let found = nodes.iter().find(|n| n.name == node);
    let (ns, ip, mut arguments) = match (part, found) {
        (Part::Operator, _) => (root, ROOT_IP, operator_flags(config)),
        (_, None) => bail!("there is no node `{node}`"),
        (Part::Agent, Some(n)) => (&n.netns, n.ip(), agent_flags(config, n)?),
        (Part::Proxy, Some(n)) => (&n.netns, n.ip(), proxy_flags(n, shift)),
    };
    arguments = merged(arguments, own);
    let launch = Launch {
        part,
        node: node.to_owned(),
        binary: config.binary(part.binary())?,
        arguments,
        logs: config.logs.clone(),
        ready: address(ip, part.ready_port() + shift),
        metrics: address(ip, part.metrics_port() + shift),
    };
    Daemon::start(&launch, ns)
}

/// The lab's own pairs of flag and value without those that are given anew, then the given ones.
fn merged(own: Vec<String>, given: Vec<String>) -> Vec<String> {
    let kept = own
        .chunks(2)
        .filter(|pair| !pair.iter().take(1).any(|name| given.contains(name)));
    let mut all: Vec<String> = kept.flatten().cloned().collect();
    all.extend(given);
    all
}

fn flags(pairs: &[(&str, &dyn std::fmt::Display)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(name, value)| [format!("--{name}"), value.to_string()])
        .collect()
}

fn operator_flags(config: &LabConfig) -> Vec<String> {
    let mut directories = config.directories();
    directories.push(config.state());
    let manifests = directories
        .iter()
        .flat_map(|d| flags(&[("manifests", &d.display())]));
    let mut all: Vec<String> = manifests.collect();
    all.extend(flags(&[
        ("listen", &address(ROOT_IP, TABLES_PORT)),
        (
            "metrics-listen",
            &address(ROOT_IP, Part::Operator.metrics_port()),
        ),
    ]));
    all
}

fn node_flags(node: &Node) -> Vec<String> {
    flags(&[
        ("node-name", &node.name),
        ("run-dir", &node.paths.run.display()),
        ("state-dir", &node.paths.state.display()),
        (
            "operator",
            &format!("http://{}", address(ROOT_IP, TABLES_PORT)),
        ),
    ])
}

fn agent_flags(config: &LabConfig, node: &Node) -> anyhow::Result<Vec<String>> {
    let mut all = node_flags(node);
    all.extend(flags(&[
        ("cni-bin-dir", &node.paths.cni_bin.display()),
        ("cni-conf-dir", &node.paths.cni_conf.display()),
        ("plugin", &config.binary("weft-cni")?.display()),
        ("netns-dir", &topology::NETNS_DIRECTORY),
        (
            "metrics-listen",
            &address(node.ip(), Part::Agent.metrics_port()),
        ),
    ]));
    Ok(all)
}

fn proxy_flags(node: &Node, shift: u16) -> Vec<String> {
    let mut all = node_flags(node);
    all.extend(flags(&[
        (
            "metrics-listen",
            &address(node.ip(), Part::Proxy.metrics_port() + shift),
        ),
        (
            "ready-listen",
            &address(node.ip(), Part::Proxy.ready_port() + shift),
        ),
    ]));
    all
}

/// Every row of `/debug/nodes` has been acknowledged at the generation sent, and there are enough rows.
fn all_acknowledged(nodes: &Value, at_least: usize) -> bool {
    let rows = nodes.as_array().or_else(|| nodes.get("nodes")?.as_array());
    rows.is_some_and(|rows| {
        rows.len() >= at_least
            && rows.iter().all(|row| {
                let number = |keys: [&str; 2]| {
                    keys.iter()
                        .find_map(|k| row.get(*k))
                        .and_then(Value::as_u64)
                };
                let acked = number(["acked_generation", "acked"]);
                text(row, "/node").is_some()
                    && acked.is_some()
                    && acked >= number(["sent_generation", "sent"])
            })
    })
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn given_flags_replace_those_of_the_lab() {
        let strings = |flags: &[&str]| flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>();
        let all = merged(
            strings(&["--a", "1", "--b", "2"]),
            strings(&["--b", "3", "--c"]),
        );
        assert_eq!(all, ["--a", "1", "--b", "3", "--c"]);
    }
}
