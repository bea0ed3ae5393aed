//! `weft`, the command line. Each command is a module under `cmd` with its flags and a `run`; only `render` prints.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod cmd;
mod demo;
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
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Completion(args) => cmd::completion::run(&args, &mut Cli::command()),
        Command::Version(args) => cmd::version::run(&args),
    }
}
