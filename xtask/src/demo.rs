//! From a clone to live numbers: install what is missing, build, hand the terminal to `weft demo`.

use anyhow::bail;
use clap::Args;

use crate::{binaries, programs, setup, workspace::Workspace};

/// Everything goes to `weft demo`; see `cargo xtask demo -- --help`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Arguments of `weft demo`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the demo; returns only on failure.
///
/// # Errors
/// Not root, a package cannot be installed, the build fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if !programs::is_root() {
        bail!(
            "the demo makes network namespaces and packet rules and needs root: run it in a root \
             shell (`sudo -i`), or `sudo env \"PATH=$PATH\" cargo xtask demo`"
        );
    }
    setup::install_missing(&setup::BASE)?;
    let directory = binaries::build(&Workspace::load()?)?;
    let mut arguments = vec!["demo".to_owned()];
    arguments.extend(options.arguments.iter().cloned());
    Err(programs::become_program(
        &directory.join("weft"),
        &arguments,
        &[],
    ))
}
