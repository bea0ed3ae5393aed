//! What Weft costs on a real Kubernetes of two nodes: a pod's start, a label, a route, memory, and the operator's work for a
//! thousand Services that change. The cluster is made for the run and is gone after it.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};
use weft_cluster::{Cluster, Config, Progress};

use crate::report;

mod churn;
mod daemons;
mod installation;
mod route;
mod starts;

use daemons::Daemons;
use installation::Installation;
use starts::State;

/// Running pods that are labelled at once.
const LABELLED: usize = 50;
/// Pods of the mesh while memory is read.
const PODS: usize = 100;
/// The namespace whose pods join the mesh.
const MESHED: &str = "meshed";
/// The namespace whose pods do not.
const PLAIN: &str = "plain";

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Piece {
    /// Sandboxes without Weft, outside and inside the mesh.
    Starts,
    /// A label on running pods, a route, memory with few and with many pods.
    Mesh,
    /// The operator and many Services.
    Churn,
}

/// What to run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// These alone; the rest of the file stays as it was.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Piece>,
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

/// Makes a cluster for each piece, measures, and writes after each.
///
/// # Errors
/// The machine cannot hold a cluster, or something does not come up; pieces that were measured are written.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut kept = Kept::open(options);
    for piece in [Piece::Starts, Piece::Mesh, Piece::Churn] {
        if !options.only.is_empty() && !options.only.contains(&piece) {
            continue;
        }
        // What else the machine had to do is a part of each figure.
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
        let mut measured = match piece {
            Piece::Starts => starts(&cluster, &config, options)?,
            Piece::Mesh => mesh(&cluster, &config, options)?,
            Piece::Churn => churn(&cluster, &config, options)?,
        };
        cluster.down()?;
        measured["load_before"] = json!(load_before);
        kept.add(piece, measured)?;
    }
    Ok(())
}

/// The file of results.
struct Kept {
    path: PathBuf,
    results: Map<String, Value>,
}

impl Kept {
    /// Of what is there already, what is measured again is replaced.
    fn open(options: &Options) -> Self {
        let text = std::fs::read_to_string(&options.json).unwrap_or_default();
        let known = serde_json::from_str(&text).unwrap_or_default();
        Self {
            path: options.json.clone(),
            results: if options.only.is_empty() {
                Map::new()
            } else {
                known
            },
        }
    }

    fn add(&mut self, piece: Piece, measured: Value) -> anyhow::Result<()> {
        let name = piece
            .to_possible_value()
            .context("a piece without a name")?;
        let machine = serde_json::to_value(report::machine())?;
        self.results.insert("machine".to_owned(), machine);
        self.results.insert(name.get_name().to_owned(), measured);
        report::keep(&self.path, &self.results)
    }
}

/// A pod's start in all three states.
fn starts(cluster: &Cluster, config: &Config, options: &Options) -> anyhow::Result<Value> {
    namespaces(cluster)?;
    let mut rows = Vec::new();
    let mut measure = |state: State, weft: Option<&Installation<'_>>| -> anyhow::Result<()> {
        for row in starts::measure(cluster, weft, state, options.starts)? {
            config.progress.say(row.line());
            rows.push(row);
        }
        Ok(())
    };
    measure(State::Without, None)?;
    let installation = Installation::make(cluster, config)?;
    measure(State::Outside, Some(&installation))?;
    cluster.kubectl_ok(&["label", "namespace", MESHED, "weft.mesh/mode=enabled"])?;
    installation.captured(0)?;
    measure(State::Inside, Some(&installation))?;
    Ok(json!({"sandboxes": rows}))
}

/// A label, a route, memory.
fn mesh(cluster: &Cluster, config: &Config, options: &Options) -> anyhow::Result<Value> {
    let say = |text: String| config.progress.say(text);
    namespaces(cluster)?;
    let installation = Installation::make(cluster, config)?;
    let daemons = Daemons::of(cluster);
    let at_rest = daemons.memory()?;
    let label = installation.label(LABELLED)?;
    say(format!(
        "{LABELLED} pods captured {label:.0} ms after the label"
    ));
    let (returned, started) = route::measure(cluster, &installation, options.routes)?;
    say(format!("route on all nodes: {returned:?}"));
    installation.scale(PODS)?;
    installation.captured(PODS)?;
    let with_pods = daemons.memory()?;
    Ok(json!({
        "labelled_pods": LABELLED,
        // From the start of `kubectl label` to the last of them captured.
        "label_to_captured_ms": label,
        // From `kubectl apply`'s return to both proxies deciding by it.
        "route_to_all_nodes": returned,
        // The same from its start.
        "apply_to_all_nodes": started,
        "memory_at_rest": at_rest,
        "memory_with_pods": with_pods,
        "pods": PODS,
    }))
}

/// Many Services.
fn churn(cluster: &Cluster, config: &Config, options: &Options) -> anyhow::Result<Value> {
    Installation::make(cluster, config)?;
    let churn = churn::measure(cluster, &Daemons::of(cluster), options.services)?;
    config.progress.say(format!("{churn:?}"));
    Ok(serde_json::to_value(churn)?)
}

fn namespaces(cluster: &Cluster) -> anyhow::Result<()> {
    for namespace in [PLAIN, MESHED] {
        cluster.kubectl_ok(&["create", "namespace", namespace])?;
    }
    Ok(())
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
