//! Compiles all tests once (`cargo test --workspace --no-run`) and runs the binaries by tier.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{
    programs,
    workspace::{Workspace, cargo},
};

/// Packages whose tests make namespaces. They fail without root, so they are a step of their own.
const PRIVILEGED: [&str; 6] = [
    "weft-netns",
    "weft-redirect",
    "weft-agent",
    "weft-proxy",
    "weft-lab",
    "weft-bench",
];

/// The package that drives the release binaries.
const END_TO_END: &str = "weft-e2e";

/// The package that makes a Kubernetes cluster.
const CLUSTER: &str = "weft-cluster";

/// Where end-to-end tests find the release binaries.
const BINARIES_VARIABLE: &str = "WEFT_BIN_DIR";

/// Tests of the cluster whose names begin so take minutes.
const LONG: &str = "long_";

/// Which tests of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// The gate's.
    Short,
    /// Those that begin with [`LONG`].
    Long,
}

/// One test binary.
struct Suite {
    package: String,
    target: String,
    executable: PathBuf,
    directory: PathBuf,
}

/// A line of cargo's JSON output; other kinds lack most fields.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Everything that needs no root, and the examples in the documentation.
///
/// # Errors
/// A test fails; the others run all the same.
pub(crate) fn run_unprivileged(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let suites = compile(workspace)?;
    let elsewhere =
        |package: &str| [END_TO_END, CLUSTER].contains(&package) || PRIVILEGED.contains(&package);
    let plain = suites.iter().filter(|suite| !elsewhere(&suite.package));
    run_all(plain, arguments, None)?;
    programs::run(cargo().args(["test", "--workspace", "--doc", "--quiet"]))
}

/// Tests that make namespaces but need no release binaries.
///
/// # Errors
/// As above.
pub(crate) fn run_privileged(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let suites = compile(workspace)?;
    let privileged = suites
        .iter()
        .filter(|suite| PRIVILEGED.contains(&suite.package.as_str()));
    run_all(privileged, arguments, None)
}

/// The real binaries.
///
/// # Errors
/// As above, or they are not built.
pub(crate) fn run_end_to_end(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let binaries = workspace.binaries();
    if !binaries.join("weft-cni").is_file() {
        bail!(
            "no release binaries in {}: run `cargo xtask build` first",
            binaries.display()
        );
    }
    let suites = compile(workspace)?;
    let end_to_end = suites.iter().filter(|suite| suite.package == END_TO_END);
    run_all(end_to_end, arguments, Some(&binaries))
}

/// A real Kubernetes.
///
/// # Errors
/// As above.
pub(crate) fn run_cluster(
    workspace: &Workspace,
    length: Length,
    arguments: &[String],
) -> anyhow::Result<()> {
    let binaries = workspace.binaries();
    if !binaries.join("weft-pause").is_file() {
        bail!(
            "no static binaries in {}: run `cargo xtask build` first",
            binaries.display()
        );
    }
    let suites = compile(workspace)?;
    let cluster = suites.iter().filter(|suite| suite.package == CLUSTER);
    let choice: &[&str] = match length {
        Length::Short => &["--skip", LONG],
        Length::Long => &[LONG],
    };
    let choice = choice.iter().map(|&word| word.to_owned());
    let arguments: Vec<String> = choice.chain(arguments.iter().cloned()).collect();
    run_all(cluster, &arguments, Some(&binaries))
}

/// All test binaries, in one build graph: a second cargo command with fewer packages would choose other features and
/// compile the dependencies again.
fn compile(workspace: &Workspace) -> anyhow::Result<Vec<Suite>> {
    let started = Instant::now();
    let mut command = cargo();
    command.args([
        "test",
        "--workspace",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let text = programs::output(command.stdin(Stdio::null()))?;
    let suites = text
        .lines()
        .filter_map(|line| suite(workspace, line))
        .collect::<Vec<_>>();
    if suites.is_empty() {
        bail!("cargo named no test binary");
    }
    eprintln!(
        "compiled {} test binaries in {:.0} s",
        suites.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(suites)
}

fn suite(workspace: &Workspace, line: &str) -> Option<Suite> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let manifest = message.manifest_path?;
    let package = workspace
        .packages
        .iter()
        .find(|package| package.manifest_path == manifest)?;
    Some(Suite {
        package: package.name.clone(),
        target: message.target?.name,
        executable: message.executable?,
        directory: package.directory().to_path_buf(),
    })
}

fn run_all<'s>(
    suites: impl Iterator<Item = &'s Suite>,
    arguments: &[String],
    binaries: Option<&Path>,
) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for suite in suites {
        let label = format!("{}::{}", suite.package, suite.target);
        let started = Instant::now();
        let passed = run_one(suite, arguments, binaries)?;
        let verdict = if passed { "ok" } else { "FAILED" };
        eprintln!(
            "--- {label}: {verdict} in {:.1} s",
            started.elapsed().as_secs_f64()
        );
        if !passed {
            failed.push(label);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// As cargo would run it: in the package's directory, told where its manifest is.
fn run_one(suite: &Suite, arguments: &[String], binaries: Option<&Path>) -> anyhow::Result<bool> {
    let mut command = Command::new(&suite.executable);
    command
        .args(["--quiet"])
        .args(arguments)
        .current_dir(&suite.directory)
        .env("CARGO_MANIFEST_DIR", &suite.directory)
        .env("CARGO_PKG_NAME", &suite.package);
    if let Some(binaries) = binaries {
        command.env(BINARIES_VARIABLE, binaries);
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", suite.executable.display()))?;
    Ok(status.success())
}
