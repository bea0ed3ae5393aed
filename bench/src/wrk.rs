//! Saturation by wrk: closed loop, keep-alive, as fast as the proxy answers.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{load::Summary, process};

/// Connections that wrk keeps busy.
pub(crate) const CONNECTIONS: usize = 64;

/// wrk's own report has no 99.9 % and is made for humans.
const REPORT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"micros":%d,"errors":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;

#[derive(Deserialize)]
struct Report {
    requests: u64,
    micros: f64,
    errors: u64,
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Runs wrk in `namespace` for `seconds`.
pub(crate) fn run(
    namespace: &Path,
    address: SocketAddr,
    host: &str,
    seconds: u64,
    directory: &Path,
) -> anyhow::Result<Summary> {
    let script = directory.join("report.lua");
    fs::write(&script, REPORT).context("cannot write wrk's script")?;
    let output = process::inside(namespace, Path::new("wrk"))
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
        .arg("-s")
        .arg(&script)
        .args(["-H", &format!("Host: {host}")])
        .arg(format!("http://{address}/"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().rev().find(|line| line.starts_with('{')) else {
        bail!("wrk printed no report:\n{text}");
    };
    let report: Report = serde_json::from_str(line).context("wrk's report")?;
    Ok(Summary {
        requests: report.requests,
        errors: report.errors,
        seconds: report.micros / 1e6,
        p50_ms: report.p50 / 1e3,
        p99_ms: report.p99 / 1e3,
        p999_ms: report.p999 / 1e3,
    })
}
