//! The steps from an empty directory to nodes that are Ready, in their order.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Cluster, Own, joined};
use crate::config::{Config, own_stamp};
use crate::node::{Node, Site};
use crate::room::Room;
use crate::sweep::{self, GROUPS_FILE, OWNER_FILE};
use crate::{cgroup, control, image, network, process, programs, settings};

/// All nodes Ready, on a busy machine.
const NODES_DEADLINE: Duration = Duration::from_secs(120);
/// CoreDNS Ready after that.
const DNS_DEADLINE: Duration = Duration::from_secs(90);
/// The ServiceAccount without which no pod of a namespace is made.
const ACCOUNT_DEADLINE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Directory, janitor, room: from here on a drop leaves nothing.
    pub(super) fn begin(config: &Config, programs: &Programs) -> anyhow::Result<Self> {
        let directory = config.directory();
        if directory.exists() {
            bail!(
                "a cluster `{}` is up (or coming up) in {}; take it down first, or choose another \
                 --name",
                config.name,
                directory.display()
            );
        }
        let made = fs::create_dir_all(&config.base)
            .and_then(|()| fs::DirBuilder::new().mode(0o700).create(&directory));
        made.with_context(|| format!("cannot make {}", directory.display()))?;
        fs::write(directory.join(OWNER_FILE), own_stamp()?).context("cannot write a file")?;
        let mut cluster = Self {
            kubeconfig: directory.join("keys/admin.conf"),
            kube: programs.kube.clone(),
            own: Some(Own {
                janitor: None,
                directory: directory.clone(),
                room: None,
                nodes: Vec::new(),
            }),
        };
        let own = cluster.own_mut()?;
        if !config.detached {
            own.janitor = Some(sweep::janitor(&directory)?);
        }
        for folder in ["logs", "bin", "nodes"] {
            fs::create_dir(directory.join(folder)).context("cannot make a directory")?;
        }
        let pause = directory.join("weft-pause");
        keep(&config.binary("weft-pause"), &pause)?;
        own.room = Some(Room::make(&directory, &pause, config.detached)?);
        Ok(cluster)
    }

    /// Everything in the room.
    pub(super) fn furnish(&mut self, config: &Config, programs: &Programs) -> anyhow::Result<()> {
        let progress = &config.progress;
        let directory = config.directory();
        keep(&programs.kube, &directory.join("bin/kube"))?;
        symlink("kube", directory.join("bin/kubectl")).context("cannot make a link")?;
        fs::write(directory.join("node.sh"), settings::NODE_SCRIPT)
            .and_then(|()| fs::write(directory.join("resolv.conf"), ""))
            .context("cannot write a file")?;
        let hierarchies = cgroup::hierarchies()?;
        let group = Self::group(&config.name);
        let own = self.own_mut()?;
        let room = own.room()?;
        let groups: Vec<String> = hierarchies
            .iter()
            .map(|hierarchy| hierarchy.own.join(&group).display().to_string())
            .collect();
        fs::write(directory.join(GROUPS_FILE), groups.join("\n") + "\n")
            .context("cannot write a file")?;
        control::make_keys(&directory, config.nodes)?;
        network::furnish_control_plane(&room.netns()?, config.nodes)?;
        control::start_store(&directory, room)?;
        progress.say("etcd and API server are starting");
        let site = Site {
            directory: &directory,
            room,
            hierarchies: &hierarchies,
            group: &group,
            nodes: config.nodes,
        };
        let nodes = boot_all(&site, config, programs)?;
        own.nodes = nodes;
        progress.say("nodes have booted and hold the images");
        self.start_all(config)
    }

    /// Controllers, kubelets, DNS.
    fn start_all(&mut self, config: &Config) -> anyhow::Result<()> {
        let progress = &config.progress;
        let own = self.own_ref()?;
        let directory = &own.directory;
        control::start_controllers(directory, own.room()?, || self.kubectl_command())?;
        progress.say("API server answers");
        let objects: Vec<String> = (1..=config.nodes)
            .zip(&own.nodes)
            .map(|(number, node)| settings::node_object(node.name(), number).to_string())
            .collect();
        self.apply(&objects.join("\n---\n"))?;
        for node in &own.nodes {
            node.start("kubelet")?;
            node.start("kube-proxy")?;
        }
        if config.dns {
            self.apply(&settings::coredns())?;
        }
        let names: Vec<String> = own
            .nodes
            .iter()
            .map(|n| format!("node/{}", n.name()))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.wait("condition=Ready", &names, NODES_DEADLINE)?;
        progress.say("nodes are Ready");
        process::until("ServiceAccount default", ACCOUNT_DEADLINE, || {
            self.kubectl_ok(&["get", "serviceaccount", "default"])
        })?;
        if config.dns {
            let coredns = ["-n", "kube-system", "deployment/coredns"];
            self.wait("condition=Available", &coredns, DNS_DEADLINE)?;
            progress.say("DNS answers");
        }
        Ok(())
    }
}

/// What is built before anything is started.
pub(super) struct Programs {
    kube: PathBuf,
    coredns: Option<PathBuf>,
}

impl Programs {
    pub(super) fn ensure(config: &Config) -> anyhow::Result<Self> {
        let coredns = match config.dns {
            true => Some(programs::COREDNS.ensure(&config.progress)?.join("coredns")),
            false => None,
        };
        Ok(Self {
            kube: programs::KUBE.ensure(&config.progress)?.join("kube"),
            coredns,
        })
    }
}

/// All nodes at once, each with the images.
fn boot_all(site: &Site<'_>, config: &Config, programs: &Programs) -> anyhow::Result<Vec<Node>> {
    let binaries = &config.binaries;
    let sample = binaries.join("weft-sample");
    let mut archives = vec![
        image::program_image(image::PAUSE, &binaries.join("weft-pause"))?.archive()?,
        image::program_image(image::SAMPLE, &sample)?.archive()?,
        image::sample_shell(&sample)?.archive()?,
    ];
    if let Some(coredns) = &programs.coredns {
        archives.push(image::program_image(image::COREDNS, coredns)?.archive()?);
    }
    let archives = &archives;
    std::thread::scope(|scope| {
        let boots: Vec<_> = (1..=config.nodes)
            .map(|number| {
                scope.spawn(move || {
                    let node = Node::boot(site, number)?;
                    archives
                        .iter()
                        .try_for_each(|archive| node.import(archive))?;
                    anyhow::Ok(node)
                })
            })
            .collect();
        boots.into_iter().map(joined).collect()
    })
}

/// Gives the cluster a program that stays when the cache or the build goes meanwhile. A link costs no space, and unlike a
/// copy it can be run at once: a child that another thread forks keeps a copy open for writing for a moment.
fn keep(program: &Path, at: &Path) -> anyhow::Result<()> {
    if fs::hard_link(program, at).is_err() {
        fs::copy(program, at).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    Ok(())
}
