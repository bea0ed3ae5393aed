//! Builds what is compared and hands over to `weft-bench`, which is a program of its own because load generation must
//! be release code.

use anyhow::bail;
use clap::Args;

use crate::{
    binaries, programs,
    setup::{self, Peers},
    workspace::{Workspace, cargo},
};

/// Everything but `--no-weft` goes to `weft-bench`; see `cargo xtask bench -- --help`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Arguments of `weft-bench`: `one-hop`, `l4`, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs a comparison; returns only on failure.
///
/// # Errors
/// Not root, a package cannot be installed, the build fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if !programs::is_root() {
        bail!("the bench makes network namespaces and needs root: run it in a root shell");
    }
    setup::install_missing(&setup::BASE)?;
    setup::install_missing(&setup::BENCH)?;
    let peers = Peers::install()?;
    let workspace = Workspace::load()?;
    let directory = binaries::build(&workspace)?;
    programs::run(cargo().args(["build", "--release", "--package", "weft-bench"]))?;
    let mut arguments = options.arguments.clone();
    let paths = [
        ("--envoy", peers.envoy.as_path()),
        ("--traefik", peers.traefik.as_path()),
        ("--binaries", directory.as_path()),
    ];
    // After the subcommand, which comes first.
    for (flag, path) in paths {
        arguments.extend([flag.to_owned(), path.display().to_string()]);
    }
    let bench = workspace.target.join("release").join("weft-bench");
    Err(programs::become_program(&bench, &arguments, &[]))
}
