//! Fuzzing by cargo-fuzz. The gate replays the same bodies as ordinary tests; this looks for new inputs.

use anyhow::bail;
use clap::Args;

use crate::{
    programs,
    workspace::{Workspace, cargo},
};

/// Which target, how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A target of fuzz/fuzz_targets, without `.rs`; without one they are listed.
    target: Option<String>,
    /// Seconds to run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs one target.
///
/// # Errors
/// No fuzz directory, no cargo-fuzz, or the target found an input.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if !workspace.root.join("fuzz").is_dir() {
        bail!("no fuzz/ directory: nothing to fuzz yet");
    }
    if programs::find("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is missing: cargo install cargo-fuzz (and rustup toolchain add nightly)");
    }
    let mut command = cargo();
    // Nightly is named for rustup's proxy; the cargo that runs us is a stable one.
    command
        .env_remove("CARGO")
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .arg("fuzz");
    match &options.target {
        None => command.arg("list"),
        Some(target) => command
            .args(["run", target, "--"])
            .arg(format!("-max_total_time={}", options.seconds)),
    };
    programs::run(&mut command)
}
