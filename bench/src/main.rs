//! The bench: Weft, HAProxy, nginx, Envoy and Traefik on the same topology in one run, each proxy on one core.
//!
//! It runs in a room of its own (private mount, pid and network namespaces), so that an interrupted run leaves nothing.
//! Figures are medians of interleaved rounds; CPU is what the kernel charged to the proxy's processes.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod backend;
mod cluster;
mod contender;
mod ground;
mod idle;
mod l4;
mod load;
mod one_hop;
mod peers;
mod pods;
mod process;
mod report;
mod soak;
mod weft;
mod wrk;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use weft_lab::isolate::{Side, enter};

/// Weft beside its peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// HTTP/1.1 through one proxy: requests, CPU, latency, memory.
    OneHop(one_hop::Options),
    /// Bytes through one proxy: CPU seconds per GiB.
    L4(l4::Options),
    /// Pods that come and go: what we add to each, and what is left.
    Pods(pods::Options),
    /// A million requests: nothing may be left of them.
    Soak(soak::Options),
    /// A real Kubernetes: a pod's start, a label, a route, memory, a thousand Services.
    Cluster(cluster::Options),
    /// (internal) The server behind the proxies.
    #[command(hide = true)]
    Backend {
        /// Answers HTTP requests here.
        #[arg(long)]
        http: SocketAddr,
        /// Sends bytes on demand here.
        #[arg(long)]
        bulk: SocketAddr,
    },
    /// (internal) Open-loop load; prints JSON.
    #[command(hide = true)]
    Load(load::Options),
}

/// What all comparisons share.
#[derive(Args, Debug, Clone)]
pub(crate) struct Common {
    /// Who takes part; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) peers: Vec<contender::Name>,
    /// Interleaved rounds; figures are medians.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Envoy's binary.
    #[arg(long)]
    pub(crate) envoy: Option<PathBuf>,
    /// Traefik's binary.
    #[arg(long)]
    pub(crate) traefik: Option<PathBuf>,
    /// Directory of Weft's release binaries.
    #[arg(long)]
    pub(crate) binaries: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let command = Arguments::parse().command;
    match &command {
        Command::Backend { http, bulk } => return backend::run(*http, *bulk).map(success),
        Command::Load(options) => return load::run(options).map(success),
        // A cluster has a room of its own.
        Command::Cluster(options) => return cluster::run(options).map(success),
        Command::OneHop(_) | Command::L4(_) | Command::Pods(_) | Command::Soak(_) => {}
    }
    let room = match enter().context("cannot make the bench's room")? {
        Side::Outside(code) => return Ok(ExitCode::from(code)),
        Side::Inside(room) => room,
    };
    process::claim_limits()?;
    if let Command::Pods(options) = &command {
        // A node's pods start on all of its cores.
        return pods::run(options, room.directory()).map(success);
    }
    process::pin_to_load_cores()?;
    match command {
        Command::OneHop(options) => one_hop::run(&options, room.directory()).map(success),
        Command::L4(options) => l4::run(&options, room.directory()).map(success),
        Command::Soak(options) => soak::run(&options, room.directory()).map(success),
        Command::Backend { .. } | Command::Load(_) | Command::Pods(_) | Command::Cluster(_) => {
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn success(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}
