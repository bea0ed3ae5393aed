//! Builds what is compared and hands over to `weft-bench`, which is a program of its own because load generation must
//! be release code.

use std::path::Path;

use anyhow::bail;
use clap::Args;

use crate::{
    binaries, images, programs,
    setup::{self, Peers},
    workspace::Workspace,
};

/// What needs the peers that are no Debian packages.
const COMPARISONS: [&str; 2] = ["one-hop", "l4"];

/// What needs a Kubernetes and Weft's images.
const CLUSTER: &str = "cluster";

/// Everything goes to `weft-bench`; see `cargo xtask bench -- --help`.
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
    let workspace = Workspace::load()?;
    let first = options.arguments.first().map(String::as_str);
    if first == Some(CLUSTER) {
        setup::install_cluster()?;
        images::run(&images::Options::default())?;
    }
    let directory = binaries::build_bench(&workspace)?;
    let mut arguments = options.arguments.clone();
    // After the subcommand, which comes first.
    let mut give = |flag: &str, path: &Path| {
        arguments.extend([flag.to_owned(), path.display().to_string()]);
    };
    if first.is_some_and(|word| COMPARISONS.contains(&word)) {
        let peers = Peers::install()?;
        give("--envoy", &peers.envoy);
        give("--traefik", &peers.traefik);
    }
    if !options.arguments.is_empty() {
        give("--binaries", &directory);
    }
    let bench = directory.join("weft-bench");
    Err(programs::become_program(&bench, &arguments, &[]))
}
