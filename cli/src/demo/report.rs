//! The table of the demo as text.

use std::collections::{BTreeMap, BTreeSet};

use crate::demo::numbers::{Row, services};
use crate::demo::reading::Reading;
use crate::render;

const HEAD: [&str; 8] = [
    "NAMESPACE",
    "SERVICE",
    "SUCCESS",
    "RPS",
    "LATENCY_P50",
    "LATENCY_P95",
    "LATENCY_P99",
    "VERSIONS",
];

/// The table. Rates and latencies are those of `window`, shares of versions those of `recent`.
pub(crate) fn table(
    window: &Reading,
    seconds: f64,
    recent: &Reading,
    all: &BTreeSet<(String, String)>,
) -> String {
    let shares = services(recent, 1.0, all);
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for (name, row) in services(window, seconds, all) {
        let versions = shares.get(&name).map(|r| &r.versions);
        rows.push(cells(&name, &row, versions.unwrap_or(&row.versions)));
    }
    render::table(&rows)
}

fn cells(name: &(String, String), row: &Row, versions: &BTreeMap<String, f64>) -> Vec<String> {
    let none = || "-".to_owned();
    let latency = |index: usize| {
        let millis = row.latency.and_then(|l| l.get(index).copied());
        millis.map_or_else(none, |ms| {
            if ms < 10.0 {
                format!("{ms:.1}ms")
            } else {
                format!("{ms:.0}ms")
            }
        })
    };
    let rate = match row.tcp {
        true => format!("{:.1}conn/s", row.rate),
        false => format!("{:.1}rps", row.rate),
    };
    let versions: Vec<String> = versions
        .iter()
        .map(|(v, share)| format!("{v} {:.0}%", share * 100.0))
        .collect();
    vec![
        name.0.clone(),
        name.1.clone(),
        row.success()
            .map_or_else(none, |s| format!("{:.2}%", (s * 1e4).floor() / 1e2)),
        if row.count > 0.0 { rate } else { none() },
        latency(0),
        latency(1),
        latency(2),
        versions.join("  "),
    ]
}
