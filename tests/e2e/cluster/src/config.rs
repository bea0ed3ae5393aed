//! What a cluster is made of and where it lies.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::process;

/// Most nodes: each has a third byte of 10.244.0.0/16 and an address 10.255.0.(10+N).
pub(crate) const MAX_NODES: u8 = 99;
/// Longest name: it is part of the names of control groups.
const MAX_NAME: usize = 60;
/// Where `cargo xtask build` puts binaries, told to tests.
const BINARIES_VARIABLE: &str = "WEFT_BIN_DIR";
/// These are laid over in each node, so that a directory below them could not be seen there.
const COVERED: [&str; 6] = ["/etc", "/opt", "/var", "/run", "/tmp", "/mnt"];

/// Told what happens, one line at a time.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Calls this for every line.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Lines on standard error with the seconds since now.
    #[must_use]
    pub fn stderr() -> Self {
        let started = std::time::Instant::now();
        Self::new(move |line| eprintln!("{:6.1} s  {line}", started.elapsed().as_secs_f64()))
    }

    /// Tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Tells one line.
    pub fn say(&self, line: impl AsRef<str>) {
        (self.0)(line.as_ref());
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Progress")
    }
}

/// A cluster to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name: lower-case letters, digits and `-`. Clusters of different names stand side by side.
    pub name: String,
    /// Clusters' directories are made in here. It must be on an ordinary file system (not an overlay).
    pub base: PathBuf,
    /// `node-1` to `node-N`.
    pub nodes: u8,
    /// Whether CoreDNS runs.
    pub dns: bool,
    /// Where `static/weft-pause` and, for the sample image, `static/weft-sample` are.
    pub binaries: PathBuf,
    /// Whether the cluster outlives this process.
    pub detached: bool,
    /// Told what happens.
    pub progress: Progress,
}

impl Config {
    /// For a test: two nodes and DNS, a name of its own, ends with the process.
    ///
    /// # Errors
    /// No cache directory is known, or `WEFT_BIN_DIR` is not set.
    pub fn for_test(label: &str) -> anyhow::Result<Self> {
        let own = std::process::id();
        let binaries = std::env::var_os(BINARIES_VARIABLE).with_context(|| {
            format!("{BINARIES_VARIABLE} is not set: run `cargo xtask test --only cluster`")
        })?;
        Ok(Self {
            name: format!("{label}-{own}"),
            base: Self::default_base()?,
            nodes: 2,
            dns: true,
            binaries: binaries.into(),
            detached: false,
            progress: Progress::stderr(),
        })
    }

    /// Clusters lie in the user's cache, next to the programs they run.
    ///
    /// # Errors
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn default_base() -> anyhow::Result<PathBuf> {
        Ok(cache()?.join("cluster"))
    }

    /// The cluster's own directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base.join(&self.name)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        check_name(&self.name)?;
        if self.nodes == 0 || self.nodes > MAX_NODES {
            bail!("a cluster has 1 to {MAX_NODES} nodes, not {}", self.nodes);
        }
        if !self.base.is_absolute() {
            bail!("--dir {}: give an absolute path", self.base.display());
        }
        if let Some(covered) = COVERED.iter().find(|top| self.base.starts_with(top)) {
            bail!(
                "--dir {}: nodes have a {covered} of their own and would not see it; choose a \
                 directory elsewhere",
                self.base.display()
            );
        }
        for file in ["weft-pause", "weft-sample"] {
            let path = self.binary(file);
            if !path.is_file() {
                bail!("{} is missing: run `cargo xtask build`", path.display());
            }
        }
        Ok(())
    }

    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }
}

/// A name is part of paths, control groups and host names.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('-') || !name.chars().all(fits)
    {
        bail!(
            "--name `{name}`: use 1 to {MAX_NAME} lower-case letters, digits and `-`, not \
             starting with `-`"
        );
    }
    Ok(())
}

/// `~/.cache/weft`.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: no place for programs and clusters")?;
    Ok(base.join("weft"))
}

/// Who makes this cluster: pid and start time.
pub(crate) fn own_stamp() -> anyhow::Result<String> {
    let pid = std::process::id();
    let start = process::start_time(pid).context("cannot read /proc/self/stat")?;
    Ok(format!("{pid} {start}\n"))
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_fit_for_paths() {
        assert!(check_name("mine-2").is_ok());
        for bad in ["", "-x", "a/b", "..", "A", "a b", &"x".repeat(61)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
