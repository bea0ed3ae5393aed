//! What a lab is made of: directories, nodes, flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::daemon::Part;
use crate::event::Report;

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

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        std::iter::once(&self.manifests)
            .chain(&self.more_manifests)
            .cloned()
            .collect()
    }

    pub(crate) fn binary(&self, name: &str) -> anyhow::Result<PathBuf> {
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
