//! What the machine must have, checked before anything is made, so that a newcomer reads one sentence and one command.

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Where distributions install CNI plugins.
const CNI_DIRECTORIES: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// Where programs are, also when root's PATH is short.
const PROGRAM_DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];
/// Programs and the Debian packages that carry them.
const PROGRAMS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("iptables-restore", "iptables"),
    ("iptables-save", "iptables"),
];
/// The plugins of the chain before ours.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];
const PLUGIN_PACKAGE: &str = "containernetworking-plugins";

/// The PATH that the lab's children get.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is missing, one sentence each, with what to do; empty when all is there.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut found = Vec::new();
    if !geteuid().is_root() {
        found.push(
            "root is missing: namespaces and packet rules need it; use a root shell (sudo -i)"
                .to_owned(),
        );
    }
    for (program, package) in PROGRAMS {
        if !PROGRAM_DIRECTORIES
            .iter()
            .any(|d| Path::new(d).join(program).exists())
        {
            found.push(format!("`{program}` is missing: apt-get install {package}"));
        }
    }
    for plugin in PLUGINS {
        if !CNI_DIRECTORIES
            .iter()
            .any(|d| Path::new(d).join(plugin).exists())
        {
            found.push(format!(
                "the CNI plugin `{plugin}` is missing: apt-get install {PLUGIN_PACKAGE} (looked in {})",
                CNI_DIRECTORIES.join(", ")
            ));
        }
    }
    found
}

/// The directories of real CNI plugins on this machine.
pub(crate) fn plugin_directories() -> Vec<PathBuf> {
    CNI_DIRECTORIES
        .iter()
        .map(PathBuf::from)
        .filter(|d| d.is_dir())
        .collect()
}
