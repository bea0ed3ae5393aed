//! Rows of results: the table for people, the JSON for whoever compares runs.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::Context;
use serde::Serialize;

/// The peer that ratios refer to.
const YARDSTICK: &str = "haproxy";

/// A request rate, `"max"` or a number in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Rate {
    /// As fast as it goes.
    Max(&'static str),
    /// Requests a second, open loop.
    Fixed(u32),
}

impl Rate {
    /// Saturation.
    pub(crate) const MAX: Self = Self::Max("max");

    fn label(self) -> String {
        match self {
            Self::Max(label) => label.to_owned(),
            Self::Fixed(rate) => rate.to_string(),
        }
    }
}

/// One line of one-hop.json; medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) work: &'static str,
    pub(crate) rate: Rate,
    pub(crate) req_per_s: f64,
    /// User and system time of the proxy's processes.
    pub(crate) cpu_us_per_req: f64,
    /// Lowest and highest round, to judge differences by.
    pub(crate) cpu_us_per_req_range: (f64, f64),
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) rss_mib: f64,
    pub(crate) kib_per_idle_conn: f64,
    /// Over all rounds; a good run has none.
    pub(crate) errors: u64,
}

/// One line of l4.json.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BulkRow {
    pub(crate) peer: &'static str,
    pub(crate) work: &'static str,
    pub(crate) gib_per_s: f64,
    pub(crate) cpu_s_per_gib: f64,
    pub(crate) cpu_s_per_gib_range: (f64, f64),
}

/// A file of results: under which circumstances, and the rows.
#[derive(Serialize)]
struct File<'r, R> {
    machine: Machine,
    rounds: usize,
    seconds: u64,
    rows: &'r [R],
}

/// Under which circumstances.
#[derive(Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    commit: String,
}

/// Writes results where `bench/results` or the user wants them.
pub(crate) fn write<R: Serialize>(
    path: &Path,
    rounds: usize,
    seconds: u64,
    rows: &[R],
) -> anyhow::Result<()> {
    keep(
        path,
        &File {
            machine: machine(),
            rounds,
            seconds,
            rows,
        },
    )
}

/// Writes one file of results and says where.
pub(crate) fn keep<R: Serialize>(path: &Path, results: &R) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// This machine and this commit.
pub(crate) fn machine() -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let commit = Command::new("git")
        .args([
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "rev-parse",
            "--short",
            "HEAD",
        ])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Machine {
        cpu: model.map_or_else(String::new, |(_, model)| model.to_owned()),
        cores: cpu
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        commit: commit.unwrap_or_default(),
    }
}

/// The table of one-hop.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<15} {:>5} {:>9} {:>10} {:>9} {:>8} {:>8} {:>9} {:>8} {:>9} {:>7}\n",
        "PEER",
        "RATE",
        "REQ/S",
        "CPU us/req",
        "x HAProxy",
        "P50 ms",
        "P99 ms",
        "P99.9 ms",
        "RSS MiB",
        "KiB/idle",
        "ERRORS"
    );
    for row in rows {
        let yardstick = rows
            .iter()
            .find(|other| other.peer == YARDSTICK && other.rate == row.rate);
        let ratio = yardstick.map_or_else(
            || "-".to_owned(),
            |other| format!("{:.2}", row.cpu_us_per_req / other.cpu_us_per_req),
        );
        let _ = writeln!(
            text,
            "{:<15} {:>5} {:>9.0} {:>10.1} {:>9} {:>8.2} {:>8.2} {:>9.2} {:>8.1} {:>9.1} {:>7}",
            row.peer,
            row.rate.label(),
            row.req_per_s,
            row.cpu_us_per_req,
            ratio,
            row.p50_ms,
            row.p99_ms,
            row.p999_ms,
            row.rss_mib,
            row.kib_per_idle_conn,
            row.errors
        );
    }
    text
}

/// The table of l4.
pub(crate) fn bulk_table(rows: &[BulkRow]) -> String {
    let mut text = format!(
        "{:<15} {:>8} {:>10} {:>9}\n",
        "PEER", "GiB/s", "CPU s/GiB", "x HAProxy"
    );
    for row in rows {
        let ratio = rows
            .iter()
            .find(|other| other.peer == YARDSTICK)
            .map_or_else(
                || "-".to_owned(),
                |other| format!("{:.2}", row.cpu_s_per_gib / other.cpu_s_per_gib),
            );
        let _ = writeln!(
            text,
            "{:<15} {:>8.2} {:>10.2} {ratio:>9}",
            row.peer, row.gib_per_s, row.cpu_s_per_gib
        );
    }
    text
}

/// The middle value; of an even number, the lower of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

/// Lowest and highest.
pub(crate) fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values
        .into_iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
}

#[cfg(test)]
mod tests {
    use super::{Rate, Row, median, range, table};

    #[test]
    fn one_bad_round_does_not_move_the_median() {
        assert!((median([17.0, 900.0, 16.0]) - 17.0).abs() < f64::EPSILON);
        assert!((median([1.0, 2.0]) - 1.0).abs() < f64::EPSILON);
        assert_eq!(range([3.0, 1.0, 2.0]), (1.0, 3.0));
    }

    #[test]
    fn ratios_refer_to_haproxy_at_the_same_rate() {
        let row = |peer, rate, cpu| Row {
            peer,
            work: "h1",
            rate,
            req_per_s: 1.0,
            cpu_us_per_req: cpu,
            cpu_us_per_req_range: (cpu, cpu),
            p50_ms: 1.0,
            p99_ms: 1.0,
            p999_ms: 1.0,
            rss_mib: 1.0,
            kib_per_idle_conn: 1.0,
            errors: 0,
        };
        let text = table(&[
            row("haproxy", Rate::MAX, 20.0),
            row("haproxy", Rate::Fixed(2000), 50.0),
            row("weft", Rate::Fixed(2000), 25.0),
        ]);
        assert!(text.lines().last().unwrap().contains("0.50"), "{text}");
        let json = serde_json::to_string(&[Rate::MAX, Rate::Fixed(2000)]).unwrap();
        assert_eq!(json, r#"["max",2000]"#);
    }
}
