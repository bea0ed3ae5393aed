//! A node: a small container with every default path private, and containerd, kubelet and kube-proxy in it. Its first
//! process is the node's power switch.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use weft_netns::{Netns, ScanRoots, find_by_ip};

use crate::cgroup::{self, Hierarchy};
use crate::daemon::{Place, last_lines};
use crate::kubectl::{Finished, finish};
use crate::network::{self, node_ip};
use crate::process;
use crate::room::Room;
use crate::settings::{self, INSIDE};

/// A node's namespaces, mounts and files are made in much less.
const BOOT_DEADLINE: Duration = Duration::from_secs(20);
/// containerd answers.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(30);
/// All images of a machine's containerd are Kubernetes' own.
const IMAGE_NAMESPACE: &str = "k8s.io";
/// The daemons in the order of a boot.
const DAEMONS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// One node of a cluster that is up.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
    number: u8,
    /// Of the cluster.
    directory: PathBuf,
    /// Control groups of the node, as the machine sees them.
    groups: Vec<PathBuf>,
}

/// What is the same for all nodes of a cluster.
pub(crate) struct Site<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) room: &'a Room,
    pub(crate) hierarchies: &'a [Hierarchy],
    /// Name of the cluster's control group.
    pub(crate) group: &'a str,
    pub(crate) nodes: u8,
}

impl Node {
    /// Makes the node's files and starts its first process and containerd.
    pub(crate) fn boot(site: &Site<'_>, number: u8) -> anyhow::Result<Self> {
        let name = format!("node-{number}");
        let own = site.directory.join("nodes").join(&name);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        settings::write_node(&own, &name, number)?;
        let groups = cgroup::make(site.hierarchies, &format!("{}/{name}", site.group))?;
        let node = Self {
            name,
            number,
            directory: site.directory.to_owned(),
            groups,
        };
        node.power_on(site)?;
        node.start("containerd")?;
        Ok(node)
    }

    /// A node of a cluster that another process has made.
    pub(crate) fn find(directory: &Path, number: u8) -> Self {
        let name = format!("node-{number}");
        let ending = format!("/{name}");
        let groups = fs::read_to_string(directory.join(crate::sweep::GROUPS_FILE))
            .unwrap_or_default()
            .lines()
            .map(|group| PathBuf::from(format!("{group}{ending}")))
            .collect();
        Self {
            name,
            number,
            directory: directory.to_owned(),
            groups,
        }
    }

    /// Starts the first process, in namespaces of its own below the room's.
    fn power_on(&self, site: &Site<'_>) -> anyhow::Result<()> {
        let own = self.directory();
        for file in ["namespace", "furnished"] {
            let _ = fs::remove_file(own.join(file));
        }
        let netns = network::make_node(&site.room.netns()?, self.number, site.nodes)?;
        let join = join_groups(&self.groups);
        let room = site.room.pid();
        let net = network::descriptor_path(&netns);
        let line = format!(
            "{join}exec nsenter --net={net} nsenter --target {room} --mount --pid -- \
             sh -c 'unshare --mount --cgroup --pid --uts --ipc --fork --kill-child --mount-proc \
             -- sh \"$@\" </dev/null >>\"$LOG\" 2>&1 &' node \"$@\""
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &line, "sh"])
            .arg(site.directory.join("node.sh"))
            .arg(site.directory)
            .arg(&self.name)
            .arg(site.directory.join("weft-pause"))
            .args(site.hierarchies.iter().map(|h| &h.options))
            .env("LOG", own.join("node.log"));
        process::output(&mut command).with_context(|| format!("cannot start {}", self.name))?;
        process::until(
            &format!("{} is furnished", self.name),
            BOOT_DEADLINE,
            || {
                if !own.join("furnished").exists() {
                    bail!("its log says:\n{}", last_lines(&own.join("node.log")));
                }
                self.pid().map(|_| ())
            },
        )
    }

    /// `node-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's own address.
    #[must_use]
    pub fn ip(&self) -> std::net::Ipv4Addr {
        node_ip(self.number)
    }

    /// Logs of its daemons, its settings, and below `over` what its programs wrote to `/etc`, `/opt` and `/var`.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.directory.join("nodes").join(&self.name)
    }

    /// The node's first process as we count; killing it is pulling the plug.
    ///
    /// # Errors
    /// The node is down.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let link = fs::read_to_string(self.directory().join("namespace"));
        link.ok()
            .and_then(|link| process::find(link.trim(), 1))
            .with_context(|| format!("{} is down", self.name))
    }

    /// The node's own network.
    ///
    /// # Errors
    /// The node is down.
    pub fn netns(&self) -> anyhow::Result<Netns> {
        let path = format!("/proc/{}/ns/net", self.pid()?);
        Netns::open(Path::new(&path)).with_context(|| format!("{} is down", self.name))
    }

    /// The network of the pod on this node that owns the address.
    ///
    /// # Errors
    /// The node is down, or no pod of it owns the address.
    pub fn pod_netns(&self, ip: IpAddr) -> anyhow::Result<Netns> {
        // As the node sees them: another cluster's nodes have the same addresses.
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()?));
        let roots = ScanRoots {
            named: root.join("run/netns"),
            proc: root.join("proc"),
        };
        find_by_ip(ip, &roots)?.with_context(|| format!("no pod of {} owns {ip}", self.name))
    }

    pub(crate) fn groups(&self) -> &[PathBuf] {
        &self.groups
    }

    /// A program inside the node: its files, its processes, its limits.
    ///
    /// # Errors
    /// The node is down.
    pub fn command(&self, program: &str) -> anyhow::Result<Command> {
        let join = join_groups(&self.groups);
        let line = format!(
            "{join}exec nsenter --target {} --mount --cgroup --pid --uts --ipc --net -- \"$@\"",
            self.pid()?
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line, "sh", program]);
        Ok(command)
    }

    /// Runs a program inside to its end.
    ///
    /// # Errors
    /// The node is down; the program's own failure is in the result.
    pub fn exec(&self, line: &[&str]) -> anyhow::Result<Finished> {
        let (program, arguments) = line.split_first().context("no program is named")?;
        finish(self.command(program)?.args(arguments), b"")
    }

    /// Gives an image archive to the node's containerd.
    ///
    /// # Errors
    /// containerd refuses it.
    pub fn import(&self, archive: &[u8]) -> anyhow::Result<()> {
        let mut command = self.command("ctr")?;
        command.args(["--namespace", IMAGE_NAMESPACE, "image", "import", "-"]);
        finish(&mut command, archive)?
            .text()
            .with_context(|| format!("{}: ctr image import", self.name))?;
        Ok(())
    }

    /// Starts `containerd`, `kubelet` or `kube-proxy`; the runtime has answered when this returns.
    ///
    /// # Errors
    /// There is no such daemon, or it ends.
    pub fn start(&self, daemon: &str) -> anyhow::Result<()> {
        let place = self.place()?;
        if place.pid(daemon).is_some() {
            bail!("{daemon} runs already on {}", self.name);
        }
        place.start(self.command("sh")?, daemon, &self.line(daemon)?)?;
        if daemon == "containerd" {
            place.wait(daemon, RUNTIME_DEADLINE, || {
                self.exec(&["ctr", "version"])?.text().map(|_| ())
            })?;
        }
        Ok(())
    }

    /// Kills a daemon; what it had started runs on.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&self, daemon: &str) -> anyhow::Result<()> {
        self.place()?.stop(daemon, Signal::SIGKILL)
    }

    /// A daemon's pid as we count.
    ///
    /// # Errors
    /// The node is down.
    pub fn daemon_pid(&self, daemon: &str) -> anyhow::Result<Option<u32>> {
        Ok(self.place()?.pid(daemon))
    }

    /// What runs on it, for a person.
    pub(crate) fn summary(&self) -> String {
        let Ok(place) = self.place() else {
            return format!("{}  down", self.name);
        };
        let daemons = DAEMONS.map(|daemon| match place.pid(daemon) {
            Some(pid) => format!("{daemon} {pid}"),
            None => format!("{daemon} down"),
        });
        format!("{}  {}  {}", self.name, self.ip(), daemons.join(", "))
    }

    fn place(&self) -> anyhow::Result<Place> {
        Ok(Place {
            namespace: process::pid_namespace(self.pid()?).context("the node has ended")?,
            outside: self.directory(),
            inside: Path::new(INSIDE).join("nodes").join(&self.name),
        })
    }

    fn line(&self, daemon: &str) -> anyhow::Result<Vec<String>> {
        let own = format!("{INSIDE}/nodes/{}", self.name);
        let kube = format!("{INSIDE}/bin/kube");
        let line = match daemon {
            "containerd" => vec![
                "containerd".into(),
                format!("--config={own}/containerd.toml"),
            ],
            "kubelet" => vec![
                kube,
                "kubelet".into(),
                format!("--config={own}/kubelet.yaml"),
                format!("--kubeconfig={INSIDE}/keys/{}.conf", self.name),
                format!("--hostname-override={}", self.name),
                format!("--node-ip={}", self.ip()),
            ],
            "kube-proxy" => vec![
                kube,
                "kube-proxy".into(),
                format!("--config={own}/kube-proxy.yaml"),
            ],
            other => bail!(
                "a node has no daemon `{other}`; it has {}",
                DAEMONS.join(", ")
            ),
        };
        Ok(line)
    }
}

/// Lines of shell that move the shell into these groups.
fn join_groups(groups: &[PathBuf]) -> String {
    groups
        .iter()
        .map(|group| {
            let path = group.join("cgroup.procs").display().to_string();
            format!("echo 0 >'{}'\n", path.replace('\'', r"'\''"))
        })
        .collect()
}
