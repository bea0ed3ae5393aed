//! Programs from the Python package index, each set in a private environment outside the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::programs;

/// Where the environment of this name is or will be.
///
/// # Errors
/// No cache directory is known or can be made.
pub(super) fn environment(name: &str) -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: no place for downloaded programs")?;
    let directory = base.join("weft");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.join(name))
}

/// Makes the environment and puts the packages into it.
///
/// # Errors
/// No python3 with venv, or the package index cannot be reached.
pub(super) fn install(environment: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let what = packages.join(" ");
    eprintln!("setup: {what} into {}", environment.display());
    let venv = ["-m", "venv"];
    programs::run(Command::new("python3").args(venv).arg(environment))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    programs::run(pip.args(["install", "--quiet"]).args(packages))
}
