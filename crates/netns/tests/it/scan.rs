//! Finding a running pod's namespace.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command};

use weft_netns::{Netns, ScanRoots, find_by_ip};

use crate::{ip, scratch};

/// Directories that stand for `/run/netns` and `/proc`, so that what else runs on the machine is not asked.
struct Roots(PathBuf);

impl Roots {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("weft-scan-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("named")).unwrap();
        fs::create_dir_all(dir.join("proc")).unwrap();
        Self(dir)
    }

    fn paths(&self) -> ScanRoots {
        ScanRoots {
            named: self.0.join("named"),
            proc: self.0.join("proc"),
        }
    }

    fn name(&self, name: &str, ns: &Netns) {
        let open = format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd());
        symlink(open, self.0.join("named").join(name)).unwrap();
    }

    fn process(&self, child: &Child) {
        symlink(
            format!("/proc/{}", child.id()),
            self.0.join("proc").join(child.id().to_string()),
        )
        .unwrap();
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process inside a namespace, ended with the test.
struct Process(Child);

impl Process {
    fn start(ns: &Netns) -> Self {
        Self(
            ns.run(|| Command::new("sleep").arg("60").spawn())
                .unwrap()
                .unwrap(),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pod(address: &str) -> Netns {
    let ns = scratch();
    ip(
        &ns,
        &["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
    );
    ip(&ns, &["address", "add", address, "dev", "d0", "nodad"]);
    ns
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_pod_is_found_by_name_and_by_process() {
    let roots = Roots::new("both");
    let (named, running) = (pod("10.7.0.1/24"), pod("fd00:7::2/64"));
    let process = Process::start(&running);
    roots.name("one", &named);
    roots.process(&process.0);
    let found = |ip: &str| {
        find_by_ip(address(ip), &roots.paths())
            .unwrap()
            .map(|ns| ns.id())
    };
    assert_eq!(found("10.7.0.1"), Some(named.id()));
    assert_eq!(found("::ffff:10.7.0.1"), Some(named.id()));
    assert_eq!(found("fd00:7::2"), Some(running.id()));
    assert_eq!(found("10.7.0.9"), None);
}

#[test]
fn the_oldest_process_wins_and_a_leftover_name_loses() {
    let roots = Roots::new("oldest");
    let (leftover, old, young) = (pod("10.7.0.1/24"), pod("10.7.0.1/24"), pod("10.7.0.1/24"));
    roots.name("a-leftover", &leftover);
    let first = Process::start(&old);
    // Start times are counted in clock ticks: wait until the kernel's count has moved on.
    let ticks = || {
        fs::read_to_string("/proc/uptime")
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let before = ticks();
    while ticks() == before {
        std::thread::yield_now();
    }
    let second = Process::start(&young);
    roots.process(&second.0);
    roots.process(&first.0);
    assert_eq!(
        find_by_ip(address("10.7.0.1"), &roots.paths())
            .unwrap()
            .unwrap()
            .id(),
        old.id()
    );
}

#[test]
fn two_names_for_one_address_are_an_error_that_names_both() {
    let roots = Roots::new("twice");
    let (a, b) = (pod("10.7.0.1/24"), pod("10.7.0.1/24"));
    roots.name("here", &a);
    roots.name("there", &b);
    let error = find_by_ip(address("10.7.0.1"), &roots.paths())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("here") && error.contains("there") && error.contains("10.7.0.1"),
        "{error}"
    );
}

#[test]
fn what_ends_or_lies_meanwhile_is_passed_over() {
    let roots = Roots::new("gone");
    let ns = pod("10.7.0.1/24");
    fs::write(roots.0.join("named/not-a-namespace"), "").unwrap();
    fs::create_dir(roots.0.join("proc/123")).unwrap();
    fs::create_dir(roots.0.join("proc/sys")).unwrap();
    roots.name("pod", &ns);
    assert_eq!(
        find_by_ip(address("10.7.0.1"), &roots.paths())
            .unwrap()
            .unwrap()
            .id(),
        ns.id()
    );
}

/// The real roots can be read on any machine, and the node's own addresses are never a pod's.
#[test]
fn the_callers_own_namespace_is_never_the_answer() {
    let ns = pod("10.7.0.1/24");
    let inside = ns
        .run(|| find_by_ip(address("10.7.0.1"), &ScanRoots::default()))
        .unwrap()
        .unwrap();
    assert!(inside.is_none_or(|found| found.id() != ns.id()));
}
