//! `weft`, the command line. Each command is a module under `cmd` with its flags and a `run`; only `render` prints.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod cluster;
mod cmd;
mod definitions;
mod demo;
mod manifests;
mod render;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Weft: a service mesh without sidecars.
#[derive(Parser)]
#[command(name = "weft", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What is wrong with manifests, before anything runs.
    Analyze(cmd::analyze::Args),
    /// Installs Weft on a cluster, or prints what that means.
    Install(cmd::install::Args),
    /// Takes all pods out of the mesh, then removes Weft from the cluster.
    Uninstall(cmd::uninstall::Args),
    /// Whether the cluster and Weft on it are as they should be, and what to do where not.
    Check(cmd::check::Args),
    /// Which tables every node runs.
    ProxyStatus(cmd::proxy_status::Args),
    /// Waits until policies are in force on every node.
    Wait(cmd::wait::Args),
    /// A whole mesh on this machine: two nodes, a small shop, live numbers. Needs root, not Kubernetes.
    Demo(cmd::demo::Args),
    /// Completions for a shell, to be sourced.
    Completion(cmd::completion::Args),
    /// The version of this program.
    Version(cmd::version::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Analyze(args) => cmd::analyze::run(&args),
        Command::Install(args) => cmd::install::run(&args),
        Command::Uninstall(args) => cmd::uninstall::run(&args),
        Command::Check(args) => cmd::check::run(&args),
        Command::ProxyStatus(args) => cmd::proxy_status::run(&args),
        Command::Wait(args) => cmd::wait::run(&args),
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Completion(args) => cmd::completion::run(&args, &mut Cli::command()),
        Command::Version(args) => cmd::version::run(&args),
    }
}
