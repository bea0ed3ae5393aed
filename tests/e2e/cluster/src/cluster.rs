//! A cluster: made (the steps are in `boot`), found or given, and taken down when its handle goes, so that nothing of an
//! own one is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context, bail};

use self::boot::Programs;
use crate::config::{Config, MAX_NODES, Progress};
use crate::node::Node;
use crate::room::Room;
use crate::sweep::{self, OWNER_FILE};
use crate::{control, needs, programs};

mod boot;

/// Names a cluster that is there already.
const KUBECONFIG: &str = "KUBECONFIG";
/// A cluster: one that this library has made, or the one that `KUBECONFIG` names.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kube: PathBuf,
    own: Option<Own>,
}

/// What there is to take down.
#[derive(Debug)]
struct Own {
    directory: PathBuf,
    /// None once it is down.
    room: Option<Room>,
    nodes: Vec<Node>,
    /// None: the cluster outlives this process.
    janitor: Option<Child>,
}

impl Cluster {
    /// Makes a cluster and waits until nodes and DNS are ready. Where `KUBECONFIG` is set, that cluster is taken.
    ///
    /// # Errors
    /// Something is missing on this machine, a cluster of this name is up, or a part does not come up in time; the end
    /// of its log is in the message, and nothing is left.
    pub fn up(config: &Config) -> anyhow::Result<Self> {
        if let Some(given) = std::env::var_os(KUBECONFIG).filter(|_| !config.detached) {
            return Self::given(given.into(), &config.progress);
        }
        config.check()?;
        needs::check()?;
        let programs = Programs::ensure(config)?;
        for name in sweep::sweep(&config.base) {
            config
                .progress
                .say(format!("swept what was left of {name}"));
        }
        let started = Instant::now();
        let mut cluster = Self::begin(config, &programs)?;
        // An error drops the cluster, which takes it down.
        cluster.furnish(config, &programs)?;
        let seconds = started.elapsed().as_secs_f64();
        config.progress.say(format!(
            "cluster {} is up after {seconds:.1} s",
            config.name
        ));
        Ok(cluster)
    }

    /// The cluster of this directory, made by another process.
    ///
    /// # Errors
    /// It is not up.
    pub fn find(directory: &Path) -> anyhow::Result<Self> {
        let room = Room::find(directory)
            .with_context(|| format!("no cluster is up in {}", directory.display()))?;
        let nodes = fs::read_dir(directory.join("nodes")).map_or(0, Iterator::count);
        let nodes = u8::try_from(nodes).unwrap_or(MAX_NODES);
        Ok(Self {
            kubeconfig: directory.join("keys/admin.conf"),
            kube: directory.join("bin/kube"),
            own: Some(Own {
                directory: directory.to_owned(),
                room: Some(room),
                nodes: (1..=nodes).map(|n| Node::find(directory, n)).collect(),
                janitor: None,
            }),
        })
    }

    /// Takes a cluster down, whoever made it and however far it came.
    ///
    /// # Errors
    /// There is none, or something does not go.
    pub fn remove(directory: &Path) -> anyhow::Result<()> {
        if !directory.join(OWNER_FILE).exists() {
            bail!("there is no cluster in {}", directory.display());
        }
        sweep::destroy(directory, None)
    }

    fn given(kubeconfig: PathBuf, progress: &Progress) -> anyhow::Result<Self> {
        let cluster = Self {
            kube: programs::KUBE.ensure(progress)?.join("kube"),
            kubeconfig,
            own: None,
        };
        cluster
            .kubectl_ok(&["get", "--raw", "/readyz"])
            .with_context(|| format!("{KUBECONFIG} is set, but its cluster does not answer"))?;
        progress.say(format!("using the cluster of {KUBECONFIG}"));
        Ok(cluster)
    }

    /// Whether this is a cluster that `KUBECONFIG` names: it has no nodes that could be entered.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.own.is_none()
    }

    /// Credentials of an administrator. The API server of an own cluster answers in the control plane's network only:
    /// see [`command`](Self::command).
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Name of the control group of a cluster of this name.
    pub(crate) fn group(name: &str) -> String {
        format!("weft-cluster-{name}")
    }

    pub(crate) fn directory(&self) -> anyhow::Result<&Path> {
        Ok(&self.own_ref()?.directory)
    }

    pub(crate) fn room(&self) -> anyhow::Result<&Room> {
        self.own_ref()?.room()
    }

    /// The nodes of an own cluster.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        self.own.as_ref().map_or(&[], |own| own.nodes.as_slice())
    }

    /// The same for a look at what nobody but a node can show; of a given cluster it says that nobody looks.
    #[must_use]
    pub fn nodes_to_look_into(&self, what: &str, progress: &Progress) -> &[Node] {
        if self.is_given() {
            progress.say(format!(
                "NOT looked at: {what}; the nodes of {KUBECONFIG}'s cluster cannot be entered"
            ));
        }
        self.nodes()
    }

    /// Node N, counted from 1.
    ///
    /// # Errors
    /// There is no such node, or the cluster is a given one.
    pub fn node(&self, number: usize) -> anyhow::Result<&Node> {
        if self.is_given() {
            bail!(
                "the nodes of the cluster of {KUBECONFIG} cannot be entered: unset it, and this test makes a cluster"
            );
        }
        self.nodes().get(number.wrapping_sub(1)).with_context(|| {
            format!(
                "there is no node-{number} to enter; this cluster has {}",
                self.nodes().len()
            )
        })
    }

    /// Gives an image archive to every node's containerd. Pods use it with `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// containerd refuses it, or the cluster is a given one.
    pub fn import(&self, archive: &[u8]) -> anyhow::Result<()> {
        if self.is_given() {
            bail!(
                "images cannot be imported into the cluster of {KUBECONFIG}: push them to its registry"
            );
        }
        import_all(self.nodes(), archive)
    }

    /// A program of this machine in the control plane's network, with `KUBECONFIG` set and kubectl first in `PATH`.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let room = self.own.as_ref().and_then(|own| own.room.as_ref());
        let mut command = match room {
            Some(room) => room.network_command(program),
            None => Command::new(program),
        };
        command.env(KUBECONFIG, &self.kubeconfig);
        if let Some(own) = &self.own {
            // Nothing of a cluster that is gone shall lie in the user's home.
            command.env("KUBECACHEDIR", own.directory.join("cache"));
            let mut path = own.directory.join("bin").into_os_string();
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            command.env("PATH", path);
        }
        command
    }

    /// kubectl, ready for arguments.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.command(&self.kube);
        command.arg("kubectl");
        command
    }

    /// Lines for a person.
    #[must_use]
    pub fn status(&self) -> Vec<String> {
        let Some(own) = &self.own else {
            return vec![format!("given by {KUBECONFIG}")];
        };
        let mut lines = vec![format!("{}", own.directory.display())];
        if let Ok(room) = own.room() {
            let place = control::place(&own.directory, room);
            let daemons = [
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
            ];
            for daemon in daemons {
                let state = place
                    .pid(daemon)
                    .map_or("down".into(), |pid| pid.to_string());
                lines.push(format!("{daemon} {state}"));
            }
        }
        lines.extend(own.nodes.iter().map(Node::summary));
        lines
    }

    /// Takes an own cluster down; nothing of it is left. A given one stays as it is.
    ///
    /// # Errors
    /// Something does not go; it is named.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.take_down()
    }

    /// The cluster stays when this value goes.
    pub fn leave(mut self) {
        self.own = None;
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        let Some(mut own) = self.own.take() else {
            return Ok(());
        };
        let result = sweep::destroy(&own.directory, own.room.take());
        if let Some(mut janitor) = own.janitor.take() {
            drop(janitor.stdin.take());
            let _ = janitor.wait();
        }
        result
    }

    fn own_ref(&self) -> anyhow::Result<&Own> {
        self.own.as_ref().context("this cluster is not our own")
    }

    fn own_mut(&mut self) -> anyhow::Result<&mut Own> {
        self.own.as_mut().context("this cluster is not our own")
    }
}

impl Own {
    fn room(&self) -> anyhow::Result<&Room> {
        self.room.as_ref().context("the cluster's room has ended")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("cluster: {error:#}");
        }
    }
}

fn import_all(nodes: &[Node], archive: &[u8]) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let imports: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| node.import(archive)))
            .collect();
        imports.into_iter().try_for_each(joined)
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| bail!("the thread of a node panicked"))
}
