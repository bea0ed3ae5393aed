//! `weft wait`: until a policy is in force on every node, told by the conditions that the operator writes. `kubectl wait`
//! reads the same conditions; this one knows that a status may be about an older version of the object, knows the parents
//! of routes, says why it waits, and fails at once when the object is not accepted, for waiting would not help.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;
use tokio::time::Instant;
use weft_k8s::Kind;

use self::judge::{Step, judge};
use self::target::{Goal, Target};
use crate::cluster::{self, Access, duration, find, reason, text};
use crate::cmd::analyze::files;
use crate::render;

mod judge;
mod target;

/// Unless `--timeout` says otherwise.
const TIMEOUT: &str = "60s";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Flags of `weft wait`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    /// Policies as KIND/NAME: virtualservice/reviews, vs/reviews, httproute/shop.
    #[arg(value_name = "KIND/NAME", required_unless_present = "filename")]
    targets: Vec<Target>,
    /// Policies of these files or directories; `-` reads standard input. Objects of other kinds are passed over.
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none; else the context's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// What for: `generation` (accepted, and acknowledged by all nodes), `condition=NAME`, `condition=NAME=VALUE`, `delete`.
    #[arg(long = "for", value_name = "WHAT", default_value = "generation")]
    what: Goal,
    /// How long.
    #[arg(long, default_value = TIMEOUT, value_parser = duration)]
    timeout: Duration,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    cluster::run(wait(args))
}

async fn wait(args: &Args) -> anyhow::Result<u8> {
    let mut targets = args.targets.clone();
    targets.extend(from_files(&args.filename)?);
    let client = args.access.client().await?;
    let namespace = match &args.namespace {
        Some(namespace) => namespace.clone(),
        None => client.default_namespace().to_owned(),
    };
    let deadline = Instant::now() + args.timeout;
    for target in &targets {
        let (path, shown) = (target.path(&namespace), target.shown());
        let reached = one(&client, &path, &args.what, deadline).await;
        let text = reached.with_context(|| shown.clone())?;
        render::line(&format!("{shown} {text}"));
    }
    Ok(0)
}

/// Waits for one object; what was reached.
async fn one(
    client: &Client,
    path: &str,
    goal: &Goal,
    deadline: Instant,
) -> anyhow::Result<String> {
    loop {
        let step = match find(client, path).await {
            Ok(object) => judge(object.as_ref(), goal),
            Err(error @ kube::Error::Api(_)) => bail!("{}", reason(&error)),
            // An API server that is away for a moment is waited for.
            Err(error) => Step::Waiting(reason(&error)),
        };
        let why = match step {
            Step::Reached(text) => return Ok(text),
            Step::Hopeless(why) => bail!("{why}"),
            Step::Waiting(why) => why,
        };
        if Instant::now() >= deadline {
            bail!("not in time: {why}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Policies in files, whatever version they are written in.
fn from_files(paths: &[PathBuf]) -> anyhow::Result<Vec<Target>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut targets = Vec::new();
    for file in files::read(paths).map_err(anyhow::Error::msg)? {
        let objects = weft_lab::manifests::parse(&file.text)
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.name))?;
        for (_, object) in objects {
            let (group, _) = text(&object, "/apiVersion")
                .split_once('/')
                .unwrap_or_default();
            let kind = Kind::find(group, text(&object, "/kind"));
            let namespace = text(&object, "/metadata/namespace");
            targets.extend(
                kind.filter(|kind| kind.gets_conditions())
                    .map(|kind| Target {
                        kind,
                        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                        name: text(&object, "/metadata/name").to_owned(),
                    }),
            );
        }
    }
    if targets.is_empty() {
        bail!("there is nothing to wait for in these files: no kind whose status Weft writes");
    }
    Ok(targets)
}
