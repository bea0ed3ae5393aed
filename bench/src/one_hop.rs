//! One hop of HTTP/1.1 through each proxy: saturated by wrk, then at a fixed rate by the open-loop generator, in
//! interleaved rounds; memory for each idle connection in a fresh process beforehand.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    Common,
    contender::{Contender, Name},
    idle,
    load::Summary,
    peers::{Mode, Stage},
    process::{self, Usage},
    report::{self, Rate, Row, median, range},
    wrk,
};

/// Requests a second of the open-loop part.
const FIXED_RATE: u32 = 2_000;
/// Seconds of load before a measured part, to fill pools and caches.
const WARM_SECONDS: u64 = 1;

/// How long, how often, who.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Seconds of each measured part.
    #[arg(long, default_value_t = 8)]
    duration: u64,
    /// Where to write the rows; default bench/results/one-hop.json, if everyone took part without an error.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One measured part.
struct Sample {
    name: Name,
    rate: Rate,
    summary: Summary,
    cpu_us_per_req: f64,
    rss_mib: f64,
}

/// Runs the comparison.
pub(crate) fn run(options: &Options, directory: &Path) -> anyhow::Result<()> {
    let names = match options.common.peers.as_slice() {
        [] => Name::ALL.to_vec(),
        chosen => chosen.to_vec(),
    };
    let mut stage = Stage::build(&options.common, directory)?;
    let mut idle_costs = Vec::new();
    for name in &names {
        let contender = start(&mut stage, *name)?;
        let cost = idle::kib_per_connection(&contender)?;
        eprintln!(
            "{}: {cost:.1} KiB for each of {} idle connections",
            name.label(),
            idle::CONNECTIONS
        );
        idle_costs.push((*name, cost));
    }
    let contenders = names
        .iter()
        .map(|name| start(&mut stage, *name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut samples = Vec::new();
    for round in 0..options.common.rounds {
        // Everyone is first once, so that nobody always inherits the same neighbour's warm caches.
        let (before, from) = contenders.split_at(round % contenders.len());
        for contender in from.iter().chain(before) {
            for rate in [Rate::MAX, Rate::Fixed(FIXED_RATE)] {
                let sample = measure(contender, rate, options.duration, directory)?;
                eprintln!(
                    "round {}: {} at {rate:?}: {:.0} req/s, {:.1} CPU us/req, p99 {:.2} ms, {} errors",
                    round + 1,
                    contender.name.label(),
                    sample.summary.requests as f64 / sample.summary.seconds,
                    sample.cpu_us_per_req,
                    sample.summary.p99_ms,
                    sample.summary.errors
                );
                samples.push(sample);
            }
        }
    }
    let rows = rows(&names, &samples, &idle_costs);
    finish(options, &names, &rows)
}

fn start(stage: &mut Stage, name: Name) -> anyhow::Result<Contender> {
    let contender = stage.start(name, Mode::Http)?;
    contender.wait_for_http()?;
    Ok(contender)
}

fn measure(
    contender: &Contender,
    rate: Rate,
    seconds: u64,
    directory: &Path,
) -> anyhow::Result<Sample> {
    apply_load(contender, rate, WARM_SECONDS, directory)?;
    let before = process::usage(contender.pid())?;
    let summary = apply_load(contender, rate, seconds, directory)?;
    let after = process::usage(contender.pid())?;
    if summary.requests == 0 {
        bail!("{} answered no request", contender.name.label());
    }
    Ok(Sample {
        name: contender.name,
        rate,
        cpu_us_per_req: cpu_micros(before, after) / summary.requests as f64,
        rss_mib: after.resident_kib as f64 / 1024.0,
        summary,
    })
}

fn cpu_micros(before: Usage, after: Usage) -> f64 {
    (after.cpu_seconds - before.cpu_seconds) * 1e6
}

fn apply_load(
    contender: &Contender,
    rate: Rate,
    seconds: u64,
    directory: &Path,
) -> anyhow::Result<Summary> {
    let Rate::Fixed(rate) = rate else {
        return wrk::run(
            &contender.client,
            contender.address,
            &contender.host,
            seconds,
            directory,
        );
    };
    let own = std::env::current_exe().context("cannot find the bench's own file")?;
    let output = process::inside(&contender.client, &own)
        .arg("load")
        .args([
            "--address",
            &contender.address.to_string(),
            "--host",
            &contender.host,
        ])
        .args([
            "--rate",
            &rate.to_string(),
            "--seconds",
            &seconds.to_string(),
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the load")?;
    if !output.status.success() {
        bail!("the load on {} failed", contender.name.label());
    }
    serde_json::from_slice(&output.stdout).context("the load printed no summary")
}

fn rows(names: &[Name], samples: &[Sample], idle_costs: &[(Name, f64)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for rate in [Rate::MAX, Rate::Fixed(FIXED_RATE)] {
        for name in names {
            let of: Vec<&Sample> = samples
                .iter()
                .filter(|s| s.name == *name && s.rate == rate)
                .collect();
            let middle = |value: fn(&Sample) -> f64| median(of.iter().map(|s| value(s)));
            let idle = idle_costs.iter().find(|(other, _)| other == name);
            rows.push(Row {
                peer: name.label(),
                work: "h1",
                rate,
                req_per_s: middle(|s| s.summary.requests as f64 / s.summary.seconds),
                cpu_us_per_req: middle(|s| s.cpu_us_per_req),
                cpu_us_per_req_range: range(of.iter().map(|s| s.cpu_us_per_req)),
                p50_ms: middle(|s| s.summary.p50_ms),
                p99_ms: middle(|s| s.summary.p99_ms),
                p999_ms: middle(|s| s.summary.p999_ms),
                rss_mib: middle(|s| s.rss_mib),
                kib_per_idle_conn: idle.map_or(0.0, |(_, cost)| *cost),
                errors: of.iter().map(|s| s.summary.errors).sum(),
            });
        }
    }
    rows
}

fn finish(options: &Options, names: &[Name], rows: &[Row]) -> anyhow::Result<()> {
    eprintln!("\n{}", report::table(rows));
    let errors: u64 = rows.iter().map(|row| row.errors).sum();
    let complete = Name::ALL.iter().all(|name| names.contains(name)) && errors == 0;
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/one-hop.json");
    let path = match (&options.json, complete) {
        (Some(path), _) => path,
        (None, true) => &kept,
        (None, false) => {
            eprintln!(
                "not everyone took part without an error: {} stays as it was",
                kept.display()
            );
            return Ok(());
        }
    };
    report::write(path, options.common.rounds, options.duration, rows)
}
