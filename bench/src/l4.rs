//! Bytes through each proxy: clients download over a few connections; CPU seconds of the proxy for each GiB.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use weft_netns::Netns;

use crate::{
    Common,
    contender::{Contender, Name},
    peers::{Mode, Stage},
    process,
    report::{self, BulkRow, median, range},
};

const GIB: u64 = 1 << 30;
const BLOCK: usize = 256 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Who carries bytes without an extra package.
const PARTICIPANTS: [Name; 5] = [
    Name::Weft,
    Name::Haproxy,
    Name::HaproxyInPod,
    Name::Envoy,
    Name::Traefik,
];

/// How much, how often, who.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// GiB over each connection in a round.
    #[arg(long, default_value_t = 1)]
    gib: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Where to write the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

struct Sample {
    name: Name,
    gib_per_s: f64,
    cpu_s_per_gib: f64,
}

/// Runs the comparison.
pub(crate) fn run(options: &Options, directory: &Path) -> anyhow::Result<()> {
    let names = match options.common.peers.as_slice() {
        [] => PARTICIPANTS.to_vec(),
        chosen => chosen.to_vec(),
    };
    let mut stage = Stage::build(&options.common, directory)?;
    let mut contenders = Vec::new();
    for name in &names {
        let contender = stage.start(*name, Mode::Tcp)?;
        contender.wait_until(|address, _| download(address, 1))?;
        contenders.push(contender);
    }
    let mut samples = Vec::new();
    let started = Instant::now();
    for round in 0..options.common.rounds {
        for contender in &contenders {
            let sample = measure(contender, options)?;
            eprintln!(
                "round {}: {}: {:.2} GiB/s, {:.2} CPU s/GiB",
                round + 1,
                contender.name.label(),
                sample.gib_per_s,
                sample.cpu_s_per_gib
            );
            samples.push(sample);
        }
    }
    let rows: Vec<BulkRow> = names
        .iter()
        .map(|name| {
            let of = || samples.iter().filter(|sample| sample.name == *name);
            BulkRow {
                peer: name.label(),
                work: "l4",
                gib_per_s: median(of().map(|sample| sample.gib_per_s)),
                cpu_s_per_gib: median(of().map(|sample| sample.cpu_s_per_gib)),
                cpu_s_per_gib_range: range(of().map(|sample| sample.cpu_s_per_gib)),
            }
        })
        .collect();
    eprintln!("\n{}", report::bulk_table(&rows));
    match &options.json {
        Some(path) => report::write(
            path,
            options.common.rounds,
            started.elapsed().as_secs(),
            &rows,
        ),
        None => Ok(()),
    }
}

fn measure(contender: &Contender, options: &Options) -> anyhow::Result<Sample> {
    let before = process::usage(contender.pid())?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.connections)
            .map(|_| {
                scope.spawn(|| {
                    Netns::open(&contender.client)?
                        .run(|| download(contender.address, options.gib * GIB))?
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_) => bail!("a client panicked"),
            }
        }
        Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let after = process::usage(contender.pid())?;
    let gib = (options.gib * options.connections as u64) as f64;
    Ok(Sample {
        name: contender.name,
        gib_per_s: gib / seconds,
        cpu_s_per_gib: (after.cpu_seconds - before.cpu_seconds) / gib,
    })
}

/// Asks for `count` bytes and reads them all.
fn download(address: SocketAddr, count: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("cannot connect")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&count.to_be_bytes())?;
    let mut block = vec![0; BLOCK];
    let mut left = count;
    while left > 0 {
        let length = stream.read(&mut block).context("no bytes")?;
        if length == 0 {
            bail!("closed with {left} bytes missing");
        }
        left = left.saturating_sub(length as u64);
    }
    Ok(())
}
