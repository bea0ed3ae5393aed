//! A node's power switch: off as when the plug is pulled, on as a machine boots, with its disk as it was and everything
//! else gone (`/run`, control groups, interfaces, namespaces).

use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup;
use crate::cluster::Cluster;
use crate::node::{Node, Site};
use crate::process;

/// All processes of a node die with its first one.
const OFF_DEADLINE: Duration = Duration::from_secs(20);

impl Cluster {
    /// Pulls node N's plug. The API server is told nothing; it finds out.
    ///
    /// # Errors
    /// There is no such node, or something of it does not go.
    pub fn power_off(&self, number: usize) -> anyhow::Result<()> {
        let node = self.node(number)?;
        let pid = node.pid()?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)
            .with_context(|| format!("cannot kill {}", node.name()))?;
        process::until(&format!("the end of {}", node.name()), OFF_DEADLINE, || {
            if node.pid().is_ok() {
                bail!("process {pid} is still there");
            }
            if !cgroup::remove(node.groups()) {
                bail!("a control group is still there");
            }
            Ok(())
        })
    }

    /// Boots node N again: containerd answers when this returns; `kubelet` and `kube-proxy` are the caller's to start.
    ///
    /// # Errors
    /// It is on, or does not come up.
    pub fn power_on(&self, number: usize) -> anyhow::Result<()> {
        let node = self.node(number)?;
        if node.pid().is_ok() {
            bail!("{} is on already", node.name());
        }
        let directory = self.directory()?;
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let hierarchies = cgroup::hierarchies()?;
        let site = Site {
            directory,
            room: self.room()?,
            hierarchies: &hierarchies,
            group: &Cluster::group(&name),
            nodes: u8::try_from(self.nodes().len()).unwrap_or(u8::MAX),
        };
        Node::boot(&site, u8::try_from(number)?).map(drop)
    }
}
