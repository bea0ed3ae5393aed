//! What the machine must have, checked before anything is made, so that one sentence says all that is missing.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::unistd::geteuid;

use crate::cgroup;
use crate::config::cache;
use crate::image::BUSYBOX;

/// Directories that root's PATH may lack.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// Programs or files, and the Debian packages that carry them.
const NEEDED: [(&str, &str); 12] = [
    (BUSYBOX, "busybox-static"),
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/lib/cni/loopback", "containernetworking-plugins"),
];

/// What is missing, one sentence each, with what to do; empty when all is there.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut found = Vec::new();
    if !geteuid().is_root() {
        found.push(
            "root is missing: namespaces and mounts need it; use a root shell (sudo -i)".to_owned(),
        );
    }
    for (what, package) in NEEDED {
        if find(what).is_none() {
            found.push(format!("{what} is missing: apt-get install {package}"));
        }
    }
    if let Err(error) = cgroup::hierarchies() {
        found.push(format!("{error:#}"));
    }
    found
}

/// As an error.
pub(crate) fn check() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine cannot hold a cluster yet:\n  {}\n`cargo xtask setup --cluster` installs \
         the packages",
        missing.join("\n  ")
    );
}

/// The Go that `cargo xtask setup --cluster` has installed because the machine's is too old, else the machine's.
///
/// # Errors
/// There is none.
pub fn go() -> anyhow::Result<PathBuf> {
    let own = cache()?.join("go/bin/go");
    let go = own.is_file().then_some(own).or_else(|| find("go"));
    go.context(
        "Go is missing, Kubernetes is built with it: `cargo xtask setup --cluster` installs it, \
         or put Go 1.26 or newer (https://go.dev/dl) into PATH",
    )
}

/// A program in PATH or in the system's directories, or an absolute file.
pub(crate) fn find(what: &str) -> Option<PathBuf> {
    if what.starts_with('/') {
        let path = Path::new(what);
        return path.exists().then(|| path.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(what))
        .find(|file| file.is_file())
}
