//! The life of nodes and pods with the real kubelet and containerd: Weft comes, every part of it and of the node goes away
//! and comes back, pods of every kind start and end, Weft leaves; with a stream of requests running whose losses are counted.
//! One cluster for all cases, since making one costs more than most of them; a case that fails does not stop the next.
//!
//! `WEFT_CASES=agent,drained` runs only the cases whose names hold one of the words. Cases that take minutes are in the
//! test `long_…`, which the gate leaves out: `cargo xtask test --only long-cluster`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

mod cni;
mod faults;
mod kinds;
mod life;
mod load;
mod long;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use weft_cluster::{Cluster, Config};

use crate::world::World;

/// A name for people, and what to do.
type Case = (&'static str, fn(&World<'_>));

/// In this order: the first takes the pods in, the last lets them go.
const QUICK: [Case; 15] = [
    ("running pods are captured", life::labelled),
    ("kinds of pods and services", kinds::all),
    ("cnitool", cni::tool),
    ("agent away", faults::agent_away),
    ("agent upgraded", faults::agent_upgraded),
    ("proxy killed", faults::proxy_killed),
    ("proxy upgraded", life::upgraded),
    ("operator away", faults::operator_away),
    ("kubelet killed", faults::kubelet_killed),
    ("containerd killed", faults::containerd_killed),
    ("server rolled", life::server_rolled),
    ("label removed and added", life::relabelled),
    ("node drained", faults::drained),
    ("bystanders", life::bystanders),
    ("removed", life::removed),
];

const LONG: [Case; 6] = [
    ("running pods are captured", life::labelled),
    ("agent away for long", long::agent_away),
    (
        "kubelet away until the node is given up",
        long::kubelet_away,
    ),
    ("containerd away", long::containerd_away),
    ("reboot", long::rebooted),
    ("reboot without an agent", long::rebooted_without_agent),
];

#[test]
fn parts_come_and_go_with_requests_running() {
    run("nodelife", &QUICK);
}

#[test]
fn long_absences_and_reboots() {
    run("nodelong", &LONG);
}

fn run(label: &str, cases: &[Case]) {
    let config = Config::for_test(label).unwrap();
    let cluster = Cluster::up(&config).unwrap();
    assert!(
        !cluster.is_given(),
        "nodes are killed here: unset KUBECONFIG"
    );
    let world = World::make(&cluster, &config);
    let only = std::env::var("WEFT_CASES").unwrap_or_default();
    let chosen = |name: &str| only.split(',').any(|word| name.contains(word));
    let mut failed = Vec::new();
    for (number, (name, case)) in cases.iter().enumerate() {
        // The first is what all others stand on.
        if number > 0 && !chosen(name) {
            continue;
        }
        let started = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| case(&world))).is_ok();
        let verdict = if passed { "ok" } else { "FAILED" };
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("  {verdict:6}  {name} ({seconds:.0} s)");
        if !passed {
            failed.push(*name);
            world.repair();
        }
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
