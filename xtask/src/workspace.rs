//! What cargo says about this workspace: its root, its target directory, its packages and what they import.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde::Deserialize;

use crate::programs;

/// The answer of `cargo metadata --no-deps`.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Directory of the root Cargo.toml.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    /// The members.
    pub(crate) packages: Vec<Package>,
}

/// One member.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Name as in its manifest.
    pub(crate) name: String,
    /// Path of the manifest.
    pub(crate) manifest_path: PathBuf,
    /// What it imports directly, of ours and of others.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// Crate name.
    pub(crate) name: String,
    /// None for ordinary ones, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Package {
    /// The package's directory.
    #[must_use]
    pub(crate) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// Cargo cannot read a manifest, or this is no checkout of Weft.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let text =
            programs::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_str(&text).context("cargo metadata printed something unexpected")
    }

    /// The member of that name.
    #[must_use]
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Where `cargo xtask build` puts the binaries.
    #[must_use]
    pub(crate) fn binaries(&self) -> PathBuf {
        self.target.join("weft")
    }
}

/// The cargo that runs us, started at the workspace's root.
#[must_use]
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}
