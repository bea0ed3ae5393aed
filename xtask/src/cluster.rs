//! The test suite's Kubernetes cluster for a person: install what is missing, build, hand over to `weft-cluster`.

use clap::Args;

use crate::{binaries, programs, setup, workspace::Workspace};

/// Everything goes to `weft-cluster`; see `cargo xtask cluster help`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Arguments of `weft-cluster`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs one verb; returns only on failure.
///
/// # Errors
/// Not root and a package is missing, or the build fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let ready = workspace.binaries().join("weft-cluster");
    // Only `up` needs what the checkout says now; the other verbs shall answer at once.
    if !ready.is_file() || options.arguments.iter().any(|argument| argument == "up") {
        setup::install_cluster()?;
        binaries::build(&workspace)?;
    }
    let binaries = workspace.binaries();
    Err(programs::become_program(
        &ready,
        &options.arguments,
        &[("WEFT_BIN_DIR", binaries.as_os_str())],
    ))
}
