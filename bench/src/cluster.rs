//! What Weft costs on a real Kubernetes of two nodes: a pod's start, a label, a route, memory, and the operator's work for a
//! thousand Services that change. The cluster is made for the run and is gone after it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use weft_cluster::{Cluster, Config, Progress};

use crate::report;

mod churn;
mod daemons;
mod installation;
mod route;
mod starts;

use daemons::{Daemons, Memory};
use installation::Installation;
use starts::{Starts, State};

/// Running pods that are labelled at once.
const LABELLED: usize = 50;
/// Pods of the mesh while memory is read.
const PODS: usize = 100;
/// The namespace whose pods join the mesh.
const MESHED: &str = "meshed";
/// The namespace whose pods do not.
const PLAIN: &str = "plain";

/// What to run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Pods of each state that are started one after the other.
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// Routes that are changed.
    #[arg(long, default_value_t = 30)]
    routes: usize,
    /// Services while the operator's work is measured.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Where results go as JSON.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results/cluster.json"))]
    json: PathBuf,
    /// Directory of Weft's static release binaries, with `images` in it.
    #[arg(long)]
    binaries: PathBuf,
}

/// Milliseconds of several tries.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spread {
    tries: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Spread {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let last = times.len().saturating_sub(1);
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(last);
            times.get(index).copied().unwrap_or(0.0)
        };
        Self {
            tries: times.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// One file of results.
#[derive(Serialize)]
struct Results {
    machine: report::Machine,
    /// Load average of the last minute when the run began: what else the machine had to do.
    load_before: f64,
    /// Sandboxes by containerd's log: without Weft, with Weft outside the mesh, inside.
    sandboxes: Vec<Starts>,
    /// From `kubectl label` to the last of [`LABELLED`] running pods captured.
    label_to_captured_ms: f64,
    labelled_pods: usize,
    /// From `kubectl apply`'s return to both proxies deciding by it.
    route_to_all_nodes: Spread,
    /// The same from the start of `kubectl apply`.
    apply_to_all_nodes: Spread,
    memory_at_rest: Vec<Memory>,
    memory_with_pods: Vec<Memory>,
    pods: usize,
    churn: churn::Churn,
}

/// Makes a cluster, measures, writes.
///
/// # Errors
/// The machine cannot hold a cluster, or something does not come up; nothing is written then.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let load_before = load_average();
    let config = Config {
        name: format!("bench-{}", std::process::id()),
        base: Config::default_base()?,
        nodes: 2,
        dns: true,
        binaries: options.binaries.clone(),
        detached: false,
        progress: Progress::stderr(),
    };
    let cluster = Cluster::up(&config)?;
    let results = measure(&cluster, &config, options, load_before)?;
    cluster.down()?;
    report::keep(&options.json, &results)
}

fn measure(
    cluster: &Cluster,
    config: &Config,
    options: &Options,
    load_before: f64,
) -> anyhow::Result<Results> {
    let say = |text: String| config.progress.say(text);
    for namespace in [PLAIN, MESHED] {
        cluster.kubectl_ok(&["create", "namespace", namespace])?;
    }
    let mut sandboxes = Vec::new();
    let mut start = |state: State| -> anyhow::Result<()> {
        for row in starts::measure(cluster, state, options.starts)? {
            say(row.line());
            sandboxes.push(row);
        }
        Ok(())
    };
    start(State::Without)?;
    let installation = Installation::make(cluster, config)?;
    let daemons = Daemons::of(cluster);
    let memory_at_rest = daemons.memory()?;
    start(State::Outside)?;
    cluster.kubectl_ok(&["label", "namespace", MESHED, "weft.mesh/mode=enabled"])?;
    installation.captured(0)?;
    start(State::Inside)?;
    cluster.kubectl_ok(&["label", "namespace", MESHED, "weft.mesh/mode-"])?;

    let label_to_captured_ms = installation.label(LABELLED)?;
    say(format!(
        "{LABELLED} pods captured {label_to_captured_ms:.0} ms after the label"
    ));
    let (route, apply) = route::measure(cluster, &installation, options.routes)?;
    say(format!("route on all nodes: {route:?}"));
    installation.scale(PODS)?;
    let memory_with_pods = daemons.memory()?;
    installation.scale(0)?;
    let churn = churn::measure(cluster, &daemons, options.services)?;
    say(format!("{churn:?}"));
    Ok(Results {
        machine: report::machine(),
        load_before,
        sandboxes,
        label_to_captured_ms,
        labelled_pods: LABELLED,
        route_to_all_nodes: route,
        apply_to_all_nodes: apply,
        memory_at_rest,
        memory_with_pods,
        pods: PODS,
        churn,
    })
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// A field that the API server always fills.
pub(crate) fn text<'v>(value: &'v serde_json::Value, path: &str) -> anyhow::Result<&'v str> {
    let found = value.pointer(path).and_then(serde_json::Value::as_str);
    found.with_context(|| format!("an object without {path}: {value}"))
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_spread_of_few_tries_ends_at_their_greatest() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.tries, spread.p50_ms, spread.p99_ms), (3, 2.0, 3.0));
        assert_eq!(Spread::of(Vec::new()).max_ms, 0.0);
    }
}
