//! What the kernel says of Weft's daemons: memory and CPU, read on the nodes where they run.

use std::fmt::Write as _;

use anyhow::Context;
use serde::Serialize;
use weft_cluster::Cluster;

/// The daemons by the names of their processes.
pub(crate) const DAEMONS: [&str; 3] = ["weft-agent", "weft-proxy", "weft-operator"];
/// Ticks of `/proc/PID/stat` a second; Linux has had no other number on these machines.
const TICKS: f64 = 100.0;

/// Resident memory of one daemon.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    daemon: &'static str,
    node: String,
    rss_mib: f64,
}

impl Memory {
    pub(crate) fn daemon(&self) -> &str {
        self.daemon
    }

    pub(crate) fn rss_mib(&self) -> f64 {
        self.rss_mib
    }
}

/// Weft's processes on a cluster's nodes.
pub(crate) struct Daemons<'c> {
    cluster: &'c Cluster,
}

impl<'c> Daemons<'c> {
    pub(crate) fn of(cluster: &'c Cluster) -> Self {
        Self { cluster }
    }

    /// Resident memory of each, now.
    pub(crate) fn memory(&self) -> anyhow::Result<Vec<Memory>> {
        let mut found = Vec::new();
        for (daemon, node, words) in self.read("grep VmRSS: /proc/$p/status")? {
            let kib: f64 = words.get(1).context("no VmRSS")?.parse()?;
            found.push(Memory {
                daemon,
                node,
                rss_mib: kib / 1024.0,
            });
        }
        Ok(found)
    }

    /// CPU seconds that all processes of a daemon have used so far, each.
    pub(crate) fn cpu_seconds(&self, of: &str) -> anyhow::Result<Vec<f64>> {
        let mut found = Vec::new();
        for (daemon, _, words) in self.read("sed 's/.*) //' /proc/$p/stat")? {
            if daemon != of {
                continue;
            }
            // proc(5): fields 14 and 15, utime and stime; the first word here is field 3.
            let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok());
            let (user, system) = (ticks(11), ticks(12));
            found.push((user.context("no utime")? + system.context("no stime")?) / TICKS);
        }
        Ok(found)
    }

    /// Runs a line of shell for each process `$p`; gives daemon, node and the words printed.
    fn read(&self, line: &str) -> anyhow::Result<Vec<(&'static str, String, Vec<String>)>> {
        let mut script = String::new();
        for daemon in DAEMONS {
            let _ = writeln!(
                script,
                "for p in $(pgrep -x {daemon}); do echo {daemon} $({line}); done"
            );
        }
        let mut found = Vec::new();
        for node in self.cluster.nodes() {
            let said = node.exec(&["sh", "-c", &script])?.text()?;
            for line in said.lines() {
                let mut words = line.split_whitespace().map(str::to_owned);
                let name = words.next();
                let daemon = DAEMONS.into_iter().find(|d| Some(*d) == name.as_deref());
                let daemon = daemon.context("a line of no daemon")?;
                found.push((daemon, node.name().to_owned(), words.collect()));
            }
        }
        Ok(found)
    }
}
