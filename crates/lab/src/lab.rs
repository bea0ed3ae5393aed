//! The lab as a whole: `up` makes it, verbs act on it, `down` ends it in order.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, watch};
use weft_netns::Netns;

use crate::config::LabConfig;
use crate::control::run::{Control, Parts, start};
use crate::control::state::StateDirectory;
use crate::event::Event;
use crate::kubelet::Kubelet;
use crate::launch::Grounds;
use crate::object::{Key, Objects};
use crate::preflight;
use crate::supervise::{Daemons, start_mesh};
use crate::topology::{self, Node};
use crate::view::{Pod, View};

/// Late pods that an error names.
const NAMED: usize = 3;

/// A running lab. Dropping it kills its processes; the room takes the rest.
pub struct Lab {
    grounds: Grounds,
    control: Control,
    daemons: Mutex<Daemons>,
}

impl Lab {
    /// Builds the network, starts the daemons, then the pods of the user's manifests. Does not wait for the pods.
    ///
    /// # Errors
    /// A tool or binary is missing (all of them are named), or a part does not start.
    pub async fn up(config: LabConfig) -> anyhow::Result<Self> {
        let sample = checked(&config)?;
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
        let grounds = Grounds {
            config,
            root,
            nodes,
        };
        let Grounds { config, nodes, .. } = &grounds;
        let objects = node_objects(nodes, config.ipv6);
        StateDirectory::new(&config.state())?.sync(&objects)?;
        let daemons = if config.mesh {
            start_mesh(&grounds).await?
        } else {
            Daemons::new()
        };
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
        let control = start(Parts {
            manifests: config.directories(),
            state: config.state(),
            pods,
            nodes: objects,
            kubelets: kubelets.collect(),
            updates,
            report: Arc::clone(&config.report),
        })?;
        Ok(Self {
            grounds,
            control,
            daemons: Mutex::new(daemons),
        })
    }

    pub(crate) fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    pub(crate) fn daemons(&self) -> &Mutex<Daemons> {
        &self.daemons
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.grounds.nodes
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.grounds.nodes.iter().find(|node| node.name == name)
    }

    /// The root's network namespace, in which load may be driven from outside all nodes.
    #[must_use]
    pub fn root(&self) -> &Netns {
        &self.grounds.root
    }

    /// What was asked for.
    #[must_use]
    pub fn config(&self) -> &LabConfig {
        &self.grounds.config
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
        let path = self.grounds.config.manifests.join(file);
        let temporary = self.grounds.config.manifests.join(format!(".{file}.new"));
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
        let path = self.grounds.config.manifests.join(file);
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

    /// CNI CHECK of a pod, as a runtime would call it.
    ///
    /// # Errors
    /// The pod is not attached, or a plugin finds it changed.
    pub async fn check(&self, pod: &Pod) -> anyhow::Result<()> {
        let node = self.node(&pod.node).context("its node does not exist")?;
        let attachment = pod.attachment.as_ref().context("it is not attached yet")?;
        Ok(node.runtime().check(attachment).await?)
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

/// All that can be missing is named before anything is made; gives the sample app.
fn checked(config: &LabConfig) -> anyhow::Result<PathBuf> {
    let missing = preflight::missing();
    if !missing.is_empty() {
        bail!(
            "this machine cannot run a lab yet:\n  {}",
            missing.join("\n  ")
        );
    }
    if config.mesh {
        for name in ["weft-operator", "weft-agent", "weft-proxy", "weft-cni"] {
            config.binary(name)?;
        }
    }
    config.binary("weft-sample")
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
