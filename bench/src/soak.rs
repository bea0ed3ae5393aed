//! A million requests through the mesh: descriptors, memory and metric series must be at the end what they were near the
//! beginning. Most requests ride on kept connections, some on new ones, because both have their own way to leak.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use weft_netns::Netns;

use crate::{contender::Contender, idle, peers::Mode, process, report, weft::Weft, wrk};

/// Seconds of load between two looks.
const STEP_SECONDS: u64 = 4;
/// New connections of each step, one request each.
const FRESH: usize = 500;
/// Memory may grow by this much between the first look and the last: the allocator's freedom.
const GROWTH: f64 = 1.10;
/// Idle upstream connections are closed after 60 s, looked for every 5 s.
const DRAINED: Duration = Duration::from_secs(90);

/// How much.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Requests; it ends with the step in which they are reached.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Where results go as JSON.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results/soak.json"))]
    json: PathBuf,
    /// Directory of Weft's release binaries.
    #[arg(long)]
    binaries: PathBuf,
}

/// What the proxy holds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Look {
    requests: u64,
    descriptors: usize,
    rss_mib: f64,
    series: usize,
}

/// What is kept.
#[derive(Serialize)]
struct Outcome {
    machine: report::Machine,
    requests: u64,
    errors: u64,
    before: Look,
    first: Look,
    last: Look,
    /// After the last connection has been idle for a minute.
    descriptors_at_rest: usize,
}

/// Runs it.
pub(crate) fn run(options: &Options, directory: &Path) -> anyhow::Result<()> {
    let mut weft = Weft::up(directory, &options.binaries)?;
    let contender = weft.start(Mode::Http)?;
    contender.wait_for_http()?;
    let before = look(&weft, &contender, 0)?;
    let (mut requests, mut errors) = (0, 0);
    let mut first = None;
    let mut last = before;
    while requests < options.requests {
        let summary = wrk::run(
            &contender.client,
            contender.address,
            &contender.host,
            STEP_SECONDS,
            directory,
        )?;
        fresh(&contender)?;
        requests += summary.requests + FRESH as u64;
        errors += summary.errors;
        last = look(&weft, &contender, requests)?;
        first.get_or_insert(last);
        eprintln!(
            "{requests} requests, {errors} errors: {} descriptors, {:.1} MiB, {} series",
            last.descriptors, last.rss_mib, last.series
        );
    }
    let result = Outcome {
        machine: report::machine(),
        requests,
        errors,
        before,
        first: first.unwrap_or(before),
        last,
        descriptors_at_rest: at_rest(&contender, before.descriptors)?,
    };
    judge(&result)?;
    eprintln!("nothing is left");
    report::keep(&options.json, &result)
}

fn judge(result: &Outcome) -> anyhow::Result<()> {
    let Outcome {
        errors,
        before,
        first,
        last,
        descriptors_at_rest,
        ..
    } = result;
    if *errors > 0 {
        bail!("{errors} requests failed");
    }
    if *descriptors_at_rest > before.descriptors {
        bail!(
            "{} descriptors before, {descriptors_at_rest} at rest",
            before.descriptors
        );
    }
    if last.series > first.series {
        bail!("series grew from {} to {}", first.series, last.series);
    }
    if last.rss_mib > first.rss_mib * GROWTH {
        bail!(
            "memory grew from {:.1} to {:.1} MiB",
            first.rss_mib,
            last.rss_mib
        );
    }
    Ok(())
}

fn look(weft: &Weft, contender: &Contender, requests: u64) -> anyhow::Result<Look> {
    Ok(Look {
        requests,
        descriptors: descriptors(contender)?,
        rss_mib: process::usage(contender.pid())?.resident_kib as f64 / 1024.0,
        series: weft.series()?,
    })
}

fn descriptors(contender: &Contender) -> anyhow::Result<usize> {
    let directory = format!("/proc/{}/fd", contender.pid());
    Ok(fs::read_dir(directory)
        .context("the proxy is gone")?
        .count())
}

/// New connections, closed after one answer.
fn fresh(contender: &Contender) -> anyhow::Result<()> {
    let namespace = Netns::open(&contender.client)?;
    namespace.run(|| {
        (0..FRESH).try_for_each(|_| idle::ask_once(contender.address, &contender.host).map(drop))
    })?
}

/// Descriptors once they are down to `goal`, or after all patience.
fn at_rest(contender: &Contender, goal: usize) -> anyhow::Result<usize> {
    let started = Instant::now();
    loop {
        let now = descriptors(contender)?;
        if now <= goal || started.elapsed() > DRAINED {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
