//! The Gateway API's mesh conformance suite: install what is missing, build, hand over to `weft-conformance`.

use clap::Args;

use crate::{binaries, images, programs, setup, workspace::Workspace};

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
