//! The Gateway API's mesh conformance suite: install what is missing, build, hand over to `weft-conformance`.

use std::process::Command;

use clap::Args;

use crate::{binaries, images, programs, setup, workspace::Workspace};

/// Tests that do not pass yet; docs/conformance says why.
const KNOWN_FAILURES: [&str; 1] = ["MeshGRPCRouteWeight"];

/// Everything goes to `weft-conformance`; see `cargo xtask conformance --help`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Arguments of `weft-conformance`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the suite; returns only on failure.
///
/// # Errors
/// Not root and a package is missing, or the build fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let asks = |word: &str| options.arguments.iter().any(|argument| argument == word);
    if !asks("--help") {
        setup::install_cluster()?;
        // Without a mesh nothing of ours is under test.
        if !asks("none") && !asks("--mesh=none") {
            images::run(&images::Options::default())?;
        }
    }
    let binaries = binaries::build(&workspace)?;
    Err(programs::become_program(
        &binaries.join("weft-conformance"),
        &options.arguments,
        &[("WEFT_BIN_DIR", binaries.as_os_str())],
    ))
}

/// As the gate does: all tests in both placements, only the known failures fail.
///
/// # Errors
/// As above, or the verdicts are others.
pub(crate) fn run_both(workspace: &Workspace) -> anyhow::Result<()> {
    setup::install_cluster()?;
    images::run(&images::Options::default())?;
    let binaries = workspace.binaries();
    for placement in ["one", "two"] {
        let mut command = Command::new(binaries.join("weft-conformance"));
        command
            .args(["--placement", placement])
            .env("WEFT_BIN_DIR", &binaries);
        for test in KNOWN_FAILURES {
            command.args(["--known-failure", test]);
        }
        programs::run(&mut command)?;
    }
    Ok(())
}
