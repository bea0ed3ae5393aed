//! The gate: everything that must pass before a change lands, cheapest first, in the order that CI runs it.
//!
//! All tests are compiled once and then run by tier, so that a machine with two cores builds each crate once, and so
//! that tests which need root run last and fail with one clear sentence where root is missing. Nothing is skipped.

mod suites;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};

use suites::Length;

use crate::{
    binaries, chart, conformance, images, layers, limits, programs, setup,
    workspace::{Workspace, cargo},
};

/// What to run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run these steps only (comma separated); all otherwise.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Step>,
    /// Run the other steps after a failure too.
    #[arg(long)]
    keep_going: bool,
    /// Passed to the test binaries of the steps tests, root-tests and e2e: a name filter, `--nocapture`, …
    #[arg(last = true)]
    test_arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting is rustfmt's.
    Format,
    /// Import rules, house rules, generated pages.
    Layers,
    /// Clippy, warnings denied.
    Lints,
    /// Unit, property, golden and component tests, without root.
    Tests,
    /// Component tests that make namespaces (root).
    RootTests,
    /// Release binaries and the static plugin.
    Build,
    /// End to end: real binaries, two nodes, real redirection (root).
    EndToEnd,
    /// A real Kubernetes: API server, kubelets, containerd (root, Go).
    Cluster,
    /// The Gateway API's mesh suite on such a cluster, in both placements (root, Go).
    Conformance,
    /// Tests of `cluster` that take minutes: reboots, nodes that are given up. By hand only, as `--only long-cluster`.
    LongCluster,
}

/// In the order of the gate.
const STEPS: [Step; 9] = [
    Step::Format,
    Step::Layers,
    Step::Lints,
    Step::Tests,
    Step::RootTests,
    Step::Build,
    Step::EndToEnd,
    Step::Cluster,
    Step::Conformance,
];

/// Not part of the gate; run when they are named.
const BY_HAND: [Step; 1] = [Step::LongCluster];

struct Outcome {
    step: Step,
    took: Duration,
    result: anyhow::Result<()>,
}

/// Runs the gate and prints a summary.
///
/// # Errors
/// Any step failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if !programs::is_root() {
        eprintln!(
            "gate: not root: the steps root-tests, end-to-end, cluster and conformance will fail, \
             because they make network namespaces"
        );
    }
    let chosen = |step: &Step| match options.only.as_slice() {
        [] => !BY_HAND.contains(step),
        only => only.contains(step),
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in STEPS.into_iter().chain(BY_HAND).filter(chosen) {
        eprintln!("\n=== {}", name(step));
        let started = Instant::now();
        let result = run_step(step, &workspace, &options.test_arguments);
        let took = started.elapsed();
        match &result {
            Ok(()) => eprintln!("=== {} passed in {:.1} s", name(step), took.as_secs_f64()),
            Err(error) => eprintln!("=== {} FAILED: {error:#}", name(step)),
        }
        let failed = result.is_err();
        outcomes.push(Outcome { step, took, result });
        if failed && !options.keep_going {
            break;
        }
    }
    summarise(&outcomes)
}

fn name(step: Step) -> String {
    step.to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

fn run_step(step: Step, workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    match step {
        Step::Format => programs::run(cargo().args(["fmt", "--all", "--check"])),
        Step::Layers => layers::run().and_then(|()| limits::check()),
        Step::Lints => programs::run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])),
        Step::Tests => {
            // The operator's run against a real API server.
            setup::install_cluster()?;
            suites::run_unprivileged(workspace, arguments)
        }
        Step::RootTests => {
            require_root()?;
            suites::run_privileged(workspace, arguments)
        }
        Step::Build => binaries::build(workspace).map(drop),
        Step::EndToEnd => {
            require_root()?;
            suites::run_end_to_end(workspace, arguments)
        }
        Step::Cluster => {
            require_root()?;
            setup::install_cluster()?;
            images::run(&images::Options::default())?;
            suites::run_cluster(workspace, Length::Short, arguments)?;
            // The tests have built helm by now.
            chart::run(&chart::Options::check())
        }
        Step::Conformance => {
            require_root()?;
            conformance::run_both(workspace)
        }
        Step::LongCluster => {
            require_root()?;
            setup::install_cluster()?;
            images::run(&images::Options::default())?;
            suites::run_cluster(workspace, Length::Long, arguments)
        }
    }
}

fn require_root() -> anyhow::Result<()> {
    if !programs::is_root() {
        bail!(
            "this step makes network namespaces and packet rules and needs root; run the gate in \
             a root shell, or `sudo env \"PATH=$PATH\" cargo xtask test`"
        );
    }
    setup::install_missing(&setup::BASE)
}

fn summarise(outcomes: &[Outcome]) -> anyhow::Result<()> {
    eprintln!("\n=== summary");
    for outcome in outcomes {
        let verdict = if outcome.result.is_ok() {
            "ok"
        } else {
            "FAILED"
        };
        eprintln!(
            "{:<12} {:>7.1} s  {verdict}",
            name(outcome.step),
            outcome.took.as_secs_f64()
        );
    }
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    eprintln!("{:<12} {:>7.1} s", "total", total.as_secs_f64());
    match outcomes.iter().find(|outcome| outcome.result.is_err()) {
        None => Ok(()),
        Some(outcome) => bail!("the gate failed at {}", name(outcome.step)),
    }
}
