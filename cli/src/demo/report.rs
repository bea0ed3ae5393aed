//! The table of the demo as text: requests (`rps`) or, for TCP, connections (`cps`) a second.

use std::collections::{BTreeMap, BTreeSet};

use crate::demo::numbers::{Row, services};
use crate::demo::reading::Reading;
use crate::render;

const HEAD: [&str; 7] = ["SERVICE", "SUCCESS", "RPS", "P50", "P95", "P99", "VERSIONS"];

/// The table. Rates and latencies are those of `window`, shares of versions those of `recent`.
pub(crate) fn table(
    window: &Reading,
    seconds: f64,
    recent: &Reading,
    all: &BTreeSet<(String, String)>,
) -> String {
    let namespaces: BTreeSet<&String> = all.iter().map(|(namespace, _)| namespace).collect();
    let shares = services(recent, 1.0, all);
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for (name, row) in services(window, seconds, all) {
        let versions = shares.get(&name).map_or(&row.versions, |r| &r.versions);
        // A namespace that all share says nothing.
        let shown = match namespaces.len() {
            1 => name.1,
            _ => format!("{}/{}", name.0, name.1),
        };
        rows.push(cells(shown, &row, versions));
    }
    render::table(&rows)
}

fn cells(name: String, row: &Row, versions: &BTreeMap<String, f64>) -> Vec<String> {
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
        true => format!("{:.1}cps", row.rate),
        false => format!("{:.1}rps", row.rate),
    };
    let versions: Vec<String> = versions
        .iter()
        .map(|(v, share)| format!("{v} {:.0}%", share * 100.0))
        .collect();
    vec![
        name,
        row.success()
            .map_or_else(none, |s| format!("{:.2}%", (s * 1e4).floor() / 1e2)),
        if row.count > 0.0 { rate } else { none() },
        latency(0),
        latency(1),
        latency(2),
        versions.join("  "),
    ]
}
