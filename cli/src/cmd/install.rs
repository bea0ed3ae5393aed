//! `weft install`: the manifests of this version, applied by server-side apply and waited for; or printed, to be piped into
//! kubectl or kept in a repository.
//!
//! The exit code is 0 when everything runs, 1 when something was refused or is not ready in time.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use kube::Client;
use serde_json::Value;

use crate::cluster::object::Address;
use crate::cluster::rollout::{self, WORKLOADS};
use crate::cluster::{self, Access, NAMESPACE, duration, find, reason, text};
use crate::definitions;
use crate::manifests::{self, Choices};
use crate::render;

/// Time for all nodes to become ready, unless `--timeout` says otherwise.
const TIMEOUT: &str = "5m";

/// Flags of `weft install`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    choices: Choices,
    /// Leaves resource definitions out.
    #[arg(long)]
    skip_crds: bool,
    /// Leaves the Gateway API's out, also where the cluster has none.
    #[arg(long)]
    skip_gateway_api: bool,
    /// Prints instead of applying: `weft install -o yaml | kubectl apply --server-side -f -`.
    #[arg(short, long, value_enum)]
    output: Option<Printed>,
    /// The same as `-o yaml`.
    #[arg(long)]
    dry_run: bool,
    /// Waits until everything runs on every node.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    wait: bool,
    /// How long to wait.
    #[arg(long, default_value = TIMEOUT, value_parser = duration)]
    timeout: Duration,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Printed {
    /// Documents, as in a file for kubectl.
    Yaml,
    /// One List.
    Json,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    cluster::run(install(args))
}

async fn install(args: &Args) -> anyhow::Result<u8> {
    let objects = manifests::objects(&args.choices)?;
    let definitions = match args.skip_crds {
        true => Vec::new(),
        false => manifests::definitions()?,
    };
    let gateway_api = match args.skip_crds || args.skip_gateway_api {
        true => Vec::new(),
        false => manifests::gateway_api()?,
    };
    let printed = args.output.or(args.dry_run.then_some(Printed::Yaml));
    if let Some(format) = printed {
        let all = [definitions, gateway_api, objects].concat();
        match format {
            Printed::Yaml => render::raw(manifests::yaml(&all)?.as_bytes()),
            Printed::Json => {
                render::json(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all}))
            }
        }
        return Ok(0);
    }
    let client = args.access.client().await?;
    refuse_helm(&client, "upgrade").await?;
    for definition in &definitions {
        define(&client, definition).await?;
    }
    define_gateway_api(&client, &gateway_api).await?;
    for object in &objects {
        let address = Address::of(object)?;
        let applied = address.apply(&client, object).await?;
        render::line(&format!("{address} {}", applied.word()));
    }
    if !args.wait {
        render::line("\nNext: weft check --wait 5m");
        return Ok(0);
    }
    rollout::wait(&client, &WORKLOADS, args.timeout, render::note).await?;
    render::line(
        "\nWeft is installed. Switch a namespace on; running pods join as they are, nothing restarts:\n\
         \n  kubectl label namespace default weft.mesh/mode=enabled\n  weft check",
    );
    Ok(0)
}

/// Installs a definition of ours; one that somebody else has made stays as it is, for it is theirs to change.
async fn define(client: &Client, definition: &Value) -> anyhow::Result<()> {
    let (address, there) = definitions::in_place_of(client, definition).await?;
    let why = there.and_then(|there| definitions::why_not_ours(&there, Some(definition)));
    let word = match why {
        Some(why) => format!("left alone: {why}"),
        None => address.apply(client, definition).await?.word().to_owned(),
    };
    render::line(&format!("{address} {word}"));
    Ok(())
}

/// Installs the Gateway API where there is none, or only ours.
async fn define_gateway_api(client: &Client, shipped: &[Value]) -> anyhow::Result<()> {
    if shipped.is_empty() {
        return Ok(());
    }
    let found = definitions::found(client).await?;
    let strangers = definitions::gateway_api_is_not_ours(&found, shipped);
    if !strangers.is_empty() {
        render::line("the Gateway API is left alone:");
        strangers
            .iter()
            .for_each(|stranger| render::line(&format!("  {stranger}")));
        return Ok(());
    }
    for definition in shipped {
        define(client, definition).await?;
    }
    Ok(())
}

/// Two installers of the same objects would undo each other's work.
pub(super) async fn refuse_helm(client: &Client, verb: &str) -> anyhow::Result<()> {
    let path = rollout::path("daemonsets", "weft-agent");
    let agent = match find(client, &path).await {
        Ok(agent) => agent.unwrap_or_default(),
        Err(error) => bail!("{}", reason(&error)),
    };
    let release = text(&agent, "/metadata/annotations/meta.helm.sh~1release-name");
    if !release.is_empty() {
        bail!(
            "helm has installed Weft as release {release}: use helm {verb} {release} -n {NAMESPACE}"
        );
    }
    Ok(())
}
