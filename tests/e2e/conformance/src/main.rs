//! `weft-conformance`: brings up a cluster, installs the Gateway API's standard channel and, unless told otherwise, Weft;
//! runs the upstream suite with the pods on one node or on two; keeps the report and the whole log.
//!
//! No test is skipped and no feature exempted but `Gateway` and `ReferenceGrant`, which are not a mesh's.

mod log;
mod prepare;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use weft_cluster::{Cluster, Config, Progress, programs};

/// The Gateway API's mesh conformance suite.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask conformance", bin_name = "cargo xtask conformance")]
struct Options {
    /// One test by its short name (MeshBasic, HTTPRouteWeight, …).
    #[arg(long)]
    run_test: Option<String>,
    /// Where the suite's pods run.
    #[arg(long, value_enum, default_value_t = Placement::Two)]
    placement: Placement,
    /// Which mesh is under test.
    #[arg(long, value_enum, default_value_t = Mesh::Weft)]
    mesh: Mesh,
    /// Seconds that the suite waits for an expected answer; its own default is 30. A small number shortens failing runs.
    #[arg(long)]
    patience: Option<u32>,
    /// Stop at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// A test that does not pass yet: it has to fail, so that the list stays honest. May be given several times.
    #[arg(long, value_name = "TEST")]
    known_failure: Vec<String>,
    /// Where log and report go [default: BINARIES/conformance].
    #[arg(long)]
    output: Option<PathBuf>,
    /// Where `cargo xtask build` and `cargo xtask images` have put their files.
    #[arg(long, env = "WEFT_BIN_DIR")]
    binaries: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Placement {
    /// All on one node: every request stays on it.
    One,
    /// Spread over two.
    Two,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mesh {
    /// Weft, by helm from the checkout's chart and images.
    Weft,
    /// None: what the suite proves by itself.
    None,
}

impl Placement {
    fn name(self) -> &'static str {
        match self {
            Self::One => "one-node",
            Self::Two => "two-nodes",
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when every test passed, known failures aside.
fn run(options: &Options) -> anyhow::Result<bool> {
    let mut config = Config::for_test("conformance")?;
    config.binaries.clone_from(&options.binaries);
    let progress = config.progress.clone();
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| options.binaries.join("conformance"));
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let suite = programs::CONFORMANCE.ensure(&progress)?.join("conformance");
    let echo = programs::ECHO.ensure(&progress)?;
    let cluster = Cluster::up(&config)?;
    prepare::echo_image(&cluster, &echo)?;
    prepare::definitions(&cluster)?;
    progress.say("Gateway API's definitions are installed");
    if options.mesh == Mesh::Weft {
        prepare::weft(&cluster, &options.binaries, &progress)?;
        progress.say("Weft is installed");
    }
    match options.placement {
        Placement::One => prepare::keep_together(&cluster)?,
        Placement::Two => prepare::keep_apart(&cluster)?,
    }
    let file = output.join(format!("{}.log", options.placement.name()));
    let results = run_suite(&cluster, options, (&suite, &output, &file), &progress)?;
    for line in results.summary(&options.known_failure) {
        eprintln!("{line}");
    }
    eprintln!("log and report are in {}", output.display());
    cluster.down()?;
    Ok(results.as_expected(&options.known_failure))
}

/// Runs the suite in the control plane's network; its words go to the log, what it begins to the terminal too
/// (verdicts come all at once, at the end).
fn run_suite(
    cluster: &Cluster,
    options: &Options,
    (suite, output, file): (&Path, &Path, &Path),
    progress: &Progress,
) -> anyhow::Result<log::Results> {
    let mut command = cluster.command(suite);
    flags(&mut command, options, output);
    let mut child = command
        .current_dir(output)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start the suite")?;
    let Some(stream) = child.stdout.take() else {
        bail!("the suite has no output");
    };
    let mut whole =
        File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    let mut results = log::Results::default();
    let mut placed = false;
    for line in BufReader::new(stream).lines() {
        let line = line.context("the suite's output")?;
        writeln!(whole, "{line}").context("cannot write the log")?;
        results.read(&line);
        let Some(test) = log::begun(&line) else {
            continue;
        };
        progress.say(test);
        // The suite's pods are ready before its first test begins, and gone after the last.
        if !placed {
            placed = true;
            check_placement(cluster, options.placement)?;
        }
    }
    let status = child.wait().context("cannot wait for the suite")?;
    if results.is_empty() {
        bail!("the suite ran no test: {status}; see {}", file.display());
    }
    Ok(results)
}

fn flags(command: &mut Command, options: &Options, output: &Path) {
    command.args([
        "-test.v",
        "-test.parallel=16",
        "-test.timeout=60m",
        "--all-features",
        "--exempt-features=Gateway,ReferenceGrant",
        "--conformance-profiles=MESH-HTTP",
        "--organization=weft",
        "--project=weft",
        "--url=https://weft.mesh",
        "--contact=weft",
        concat!("--version=v", env!("CARGO_PKG_VERSION")),
    ]);
    let report = format!("{}.yaml", options.placement.name());
    command.arg(format!("--report-output={}", output.join(report).display()));
    command.arg(format!("--mode={}", options.placement.name()));
    if options.mesh == Mesh::Weft {
        command.arg("--namespace-labels=weft.mesh/mode=enabled");
    }
    if let Some(test) = &options.run_test {
        command.arg(format!("--run-test={test}"));
    }
    if options.fail_fast {
        command.arg("--fail-fast");
    }
    if let Some(seconds) = options.patience {
        command.arg(format!(
            "--timeout-config-overrides=MaxTimeToConsistency:{seconds}"
        ));
    }
}

/// A run on two nodes that had all its pods on one would prove nothing about the second.
fn check_placement(cluster: &Cluster, placement: Placement) -> anyhow::Result<()> {
    let nodes = cluster.kubectl_ok(&[
        "get",
        "pods",
        "-n",
        prepare::BACKENDS,
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ])?;
    let mut nodes: Vec<&str> = nodes.split_ascii_whitespace().collect();
    nodes.sort_unstable();
    nodes.dedup();
    let wanted = match placement {
        Placement::One => 1,
        Placement::Two => 2,
    };
    if nodes.len() != wanted {
        bail!("the suite's pods are on {nodes:?}, not on {wanted} node(s): run it again");
    }
    Ok(())
}
