//! `weft-cluster`: the test suite's cluster for a person to play with. `cargo xtask cluster` builds it and passes its
//! arguments on.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use weft_cluster::{Cluster, Config, Progress, programs};

/// A real Kubernetes on this machine.
#[derive(Parser)]
#[command(name = "cargo xtask cluster", bin_name = "cargo xtask cluster")]
struct Arguments {
    /// Which cluster: several stand side by side.
    #[arg(long, default_value = "mine")]
    name: String,
    /// Where clusters' files are made [default: ~/.cache/weft/cluster].
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make it and wait until it is ready.
    Up(Up),
    /// End it; nothing is left.
    Down,
    /// What runs, and where.
    Status,
    /// Kubernetes' client, as administrator.
    Kubectl(Line),
    /// helm, built from its Go module at the first use.
    Helm(Line),
    /// A program of this machine in the control plane's network, with KUBECONFIG set.
    Run(Line),
    /// A program inside a node: NODE PROGRAM ARGUMENT...
    Node(Line),
    /// containerd's client inside a node: NODE ARGUMENT...
    Ctr(Line),
    /// Give an image archive (OCI or Docker) to every node.
    Import {
        /// Tar files.
        files: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct Up {
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// Without CoreDNS: names of Services do not resolve.
    #[arg(long)]
    no_dns: bool,
    /// Stay in the foreground; however this process ends, the cluster ends with it.
    #[arg(long)]
    foreground: bool,
    /// Where `cargo xtask build` has put the binaries.
    #[arg(long, env = "WEFT_BIN_DIR")]
    binaries: PathBuf,
}

#[derive(Args)]
struct Line {
    /// Passed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let base = match arguments.dir {
        Some(directory) => std::path::absolute(directory)?,
        None => Config::default_base()?,
    };
    let directory = base.join(&arguments.name);
    match arguments.verb {
        Verb::Up(options) => {
            let config = Config {
                name: arguments.name,
                base,
                nodes: options.nodes,
                dns: !options.no_dns,
                binaries: std::path::absolute(options.binaries)?,
                detached: !options.foreground,
                progress: Progress::stderr(),
            };
            let cluster = Cluster::up(&config)?;
            eprintln!("try: cargo xtask cluster kubectl get pods -A");
            if options.foreground {
                // The end of this process is noticed by those who clean up.
                loop {
                    std::thread::park();
                }
            }
            cluster.leave();
            Ok(0)
        }
        Verb::Down => Cluster::remove(&directory).map(|()| 0),
        verb => {
            let cluster = Cluster::find(&directory)?;
            let code = with(&cluster, verb);
            cluster.leave();
            code
        }
    }
}

/// What needs a cluster that is up.
fn with(cluster: &Cluster, verb: Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::Status => {
            for line in cluster.status() {
                eprintln!("{line}");
            }
            Ok(0)
        }
        Verb::Kubectl(line) => pass(cluster.kubectl_command().args(line.arguments)),
        Verb::Helm(line) => {
            let helm = programs::HELM.ensure(&Progress::stderr())?.join("helm");
            pass(cluster.command(&helm).args(line.arguments))
        }
        Verb::Run(line) => {
            let (program, rest) = line.arguments.split_first().context("name a program")?;
            pass(cluster.command(program.as_ref()).args(rest))
        }
        Verb::Node(line) => in_node(cluster, &line.arguments, &[]),
        Verb::Ctr(line) => in_node(cluster, &line.arguments, &["ctr", "--namespace", "k8s.io"]),
        Verb::Import { files } => {
            for file in files {
                let archive = std::fs::read(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                cluster.import(&archive)?;
            }
            Ok(0)
        }
        Verb::Up(_) | Verb::Down => Ok(0),
    }
}

fn in_node(cluster: &Cluster, line: &[String], before: &[&str]) -> anyhow::Result<u8> {
    let (name, rest) = line.split_first().context("name a node: node-1")?;
    let node = cluster
        .nodes()
        .iter()
        .find(|node| node.name() == name)
        .with_context(|| format!("there is no node `{name}`"))?;
    let whole: Vec<&str> = before
        .iter()
        .copied()
        .chain(rest.iter().map(String::as_str))
        .collect();
    let (program, arguments) = whole.split_first().context("name a program")?;
    pass(node.command(program)?.args(arguments))
}

/// With our own streams; its exit code becomes ours.
fn pass(command: &mut Command) -> anyhow::Result<u8> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
