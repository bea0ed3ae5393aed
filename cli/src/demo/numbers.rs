//! From counters to what a person reads: one row per Service, one per edge, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weft_lab::verb::metrics::quantile;

use crate::demo::edges::Edge;
use crate::demo::reading::{Counts, Outcome, Reading};

/// Numbers of a Service or an edge over some time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// HTTP requests, or TCP connections where there were no requests.
    pub(crate) count: f64,
    /// Of them, those that failed.
    pub(crate) failed: f64,
    /// Per second.
    pub(crate) rate: f64,
    /// Connections, not requests, were counted.
    pub(crate) tcp: bool,
    /// Milliseconds at 50, 95 and 99 %; none for TCP.
    pub(crate) latency: Option<[f64; 3]>,
    /// Share of each version.
    pub(crate) versions: BTreeMap<String, f64>,
}

impl Row {
    fn of(counts: &Counts, seconds: f64) -> Self {
        let requests: f64 = counts.requests.values().sum();
        let opened: f64 = counts.opened.values().sum();
        let tcp = requests == 0.0 && opened > 0.0;
        let bad = counts
            .requests
            .iter()
            .filter(|(outcome, _)| !outcome.is_good());
        let count = if tcp { opened } else { requests };
        Self {
            count,
            failed: if tcp {
                counts.broken
            } else {
                bad.map(|(_, c)| c).sum()
            },
            rate: count / seconds.max(f64::EPSILON),
            tcp,
            latency: latency(counts).filter(|_| !tcp),
            versions: shares(counts),
        }
    }

    /// From 0 to 1; none when nothing happened.
    pub(crate) fn success(&self) -> Option<f64> {
        (self.count > 0.0).then(|| ((self.count - self.failed) / self.count).max(0.0))
    }
}

fn latency(counts: &Counts) -> Option<[f64; 3]> {
    let millis = |micros: u64| match micros {
        u64::MAX => f64::INFINITY,
        micros => micros as f64 / 1000.0,
    };
    let buckets: Vec<_> = counts
        .buckets
        .iter()
        .map(|(bound, n)| (millis(*bound), *n))
        .collect();
    Some([
        quantile(0.50, &buckets)?,
        quantile(0.95, &buckets)?,
        quantile(0.99, &buckets)?,
    ])
}

fn shares(counts: &Counts) -> BTreeMap<String, f64> {
    let mut versions: BTreeMap<String, f64> = BTreeMap::new();
    for (Outcome { version, .. }, count) in &counts.requests {
        *versions.entry(version.clone()).or_default() += count;
    }
    if versions.is_empty() {
        versions.clone_from(&counts.opened);
    }
    // Requests that reached no server have none.
    versions.retain(|version, count| version != "unknown" && *count > 0.0);
    let all: f64 = versions.values().sum();
    versions
        .into_iter()
        .map(|(version, count)| (version, count / all))
        .collect()
}

/// One row per Service, those without traffic included.
pub(crate) fn services(
    happened: &Reading,
    seconds: f64,
    all: &BTreeSet<(String, String)>,
) -> BTreeMap<(String, String), Row> {
    let mut counts: BTreeMap<(String, String), Counts> = all
        .iter()
        .map(|name| (name.clone(), Counts::default()))
        .collect();
    for (edge, edge_counts) in &happened.edges {
        let name = (edge.namespace.clone(), edge.service.clone());
        if let Some(sum) = counts.get_mut(&name) {
            sum.merge(edge_counts);
        }
    }
    counts
        .into_iter()
        .map(|(name, counts)| (name, Row::of(&counts, seconds)))
        .collect()
}

/// One row per edge, declared or seen.
pub(crate) fn edges(
    happened: &Reading,
    seconds: f64,
    declared: &BTreeSet<Edge>,
) -> BTreeMap<Edge, Row> {
    let empty = Counts::default();
    let all = declared.iter().chain(happened.edges.keys());
    all.map(|edge| {
        let counts = happened.edges.get(edge).unwrap_or(&empty);
        (edge.clone(), Row::of(counts, seconds))
    })
    .filter(|(edge, row)| row.count > 0.0 || declared.contains(edge))
    .collect()
}

/// Declared edges without traffic, and edges with errors, in words.
pub(crate) fn problems(happened: &Reading, declared: &BTreeSet<Edge>) -> Vec<String> {
    let mut found = Vec::new();
    for (edge, row) in edges(happened, 1.0, declared) {
        if row.count == 0.0 {
            found.push(format!("{edge} saw no traffic"));
        }
        if row.failed > 0.0 {
            let counts = happened.edges.get(&edge);
            let how = counts.map(failures).unwrap_or_default();
            found.push(format!(
                "{edge}: {} of {} failed ({how})",
                row.failed, row.count
            ));
        }
    }
    found
}

fn failures(counts: &Counts) -> String {
    let bad = counts
        .requests
        .iter()
        .filter(|(outcome, n)| !outcome.is_good() && **n > 0.0);
    let mut words: Vec<String> = bad
        .map(|(o, n)| format!("{n} × code {} flags {}", o.code, o.flags))
        .collect();
    if counts.broken > 0.0 {
        words.push(format!("{} connections", counts.broken));
    }
    words.join(", ")
}

/// The stable JSON of a run.
pub(crate) fn json(
    happened: &Reading,
    seconds: f64,
    all: &BTreeSet<(String, String)>,
    declared: &BTreeSet<Edge>,
) -> Value {
    let services = services(happened, seconds, all)
        .into_iter()
        .map(|((namespace, name), row)| {
            let mut value = row_json(&row);
            value["namespace"] = json!(namespace);
            value["name"] = json!(name);
            value
        });
    let edges = edges(happened, seconds, declared)
        .into_iter()
        .map(|(edge, row)| {
            let mut value = row_json(&row);
            value["source_namespace"] = json!(edge.source_namespace);
            value["source"] = json!(edge.source);
            value["namespace"] = json!(edge.namespace);
            value["destination"] = json!(edge.service);
            value
        });
    json!({
        "duration_s": round(seconds),
        "services": services.collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
    })
}

fn row_json(row: &Row) -> Value {
    let [p50, p95, p99] = row
        .latency
        .map_or([None; 3], |l| l.map(|ms| Some(round(ms))));
    let versions: BTreeMap<_, _> = row.versions.iter().map(|(v, s)| (v, round(*s))).collect();
    json!({
        "protocol": if row.tcp { "tcp" } else { "http" },
        "count": row.count,
        "failed": row.failed.abs(), // a sum of nothing may be -0
        "success": row.success().map(|s| (s * 1e5).floor() / 1e5),
        "rps": round(row.rate),
        "latency_ms_p50": p50,
        "latency_ms_p95": p95,
        "latency_ms_p99": p99,
        "versions": versions,
    })
}

/// Three decimals.
fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn edge(source: &str, service: &str) -> Edge {
        let shop = || "shop".to_owned();
        Edge {
            source_namespace: shop(),
            source: source.into(),
            namespace: shop(),
            service: service.into(),
        }
    }

    fn outcome(version: &str, code: u16) -> Outcome {
        Outcome {
            version: version.into(),
            code,
            flags: "-".into(),
        }
    }

    fn happened() -> Reading {
        let http = Counts {
            requests: [(outcome("v1", 200), 9.0), (outcome("v2", 503), 1.0)].into(),
            buckets: [(1000, 5.0), (5000, 10.0), (u64::MAX, 10.0)].into(),
            ..Counts::default()
        };
        let tcp = Counts {
            opened: [("v1".to_owned(), 4.0)].into(),
            ..Counts::default()
        };
        let edges = [(edge("web", "cart"), http), (edge("cart", "store"), tcp)].into();
        Reading {
            at: Instant::now(),
            edges,
        }
    }

    #[test]
    fn services_have_golden_signals_and_version_shares() {
        let all = ["cart", "store", "ads"]
            .map(|n| ("shop".to_owned(), n.to_owned()))
            .into();
        let rows = services(&happened(), 2.0, &all);
        let row = |name: &str| &rows[&("shop".to_owned(), name.to_owned())];
        assert_eq!((row("cart").success(), row("cart").rate), (Some(0.9), 5.0));
        assert_eq!(row("cart").latency.unwrap()[0], 1.0);
        assert_eq!(row("cart").versions["v1"], 0.9);
        assert!(row("store").tcp && row("store").rate == 2.0);
        assert_eq!(row("ads").success(), None);
    }

    #[test]
    fn silent_and_failing_edges_are_named() {
        let declared = [edge("web", "ads"), edge("cart", "store")].into();
        let found = problems(&happened(), &declared);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("shop/web → shop/ads saw no traffic"),
            "{found:?}"
        );
        assert!(
            found[1].contains("1 of 10 failed (1 × code 503"),
            "{found:?}"
        );
        let json = json(&happened(), 1.0, &BTreeSet::new(), &declared);
        assert_eq!(json["edges"].as_array().unwrap().len(), 3);
    }
}
