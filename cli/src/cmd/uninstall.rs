//! `weft uninstall`: the orderly removal. All pods leave the mesh first, as if their namespaces had lost the label, so that
//! they keep working; then everything of ours goes. Policies stay with their definitions unless those are asked to go too.

use std::io::{BufRead, IsTerminal, stdin};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::install::refuse_helm;
use crate::cluster::object::Address;
use crate::cluster::{self, Access, NAMESPACE, PARTS, duration, get, list, reason, rollout, text};
use crate::definitions;
use crate::manifests::{self, Choices};
use crate::render;

/// Time for each step, unless `--timeout` says otherwise.
const TIMEOUT: &str = "5m";
/// Between two looks whether something has gone.
const LOOK: Duration = Duration::from_millis(500);

/// Flags of `weft uninstall`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// Removes the resource definitions that Weft has brought too, Gateway API's among them, and with them every policy and
    /// route written in their kinds.
    #[arg(long)]
    crds: bool,
    /// Goes on when pods could not leave the mesh: their connections break, and they need a restart.
    #[arg(long)]
    force: bool,
    /// How long each step may take.
    #[arg(long, default_value = TIMEOUT, value_parser = duration)]
    timeout: Duration,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    cluster::run(uninstall(args))
}

async fn uninstall(args: &Args) -> anyhow::Result<u8> {
    let client = args.access.client().await?;
    refuse_helm(&client, "uninstall").await?;
    if !args.yes && !confirmed(args.crds)? {
        render::note("nothing was changed");
        return Ok(1);
    }
    let objects = manifests::objects(&Choices::default())?;
    leave(&client, &objects, args).await?;
    let is_namespace = |object: &&Value| text(object, "/kind") == "Namespace";
    // Workloads first: agents clean their nodes up when they are stopped, and may need what comes later.
    let (workloads, others): (Vec<&Value>, Vec<&Value>) = objects
        .iter()
        .filter(|object| !is_namespace(object))
        .partition(|object| ["Deployment", "DaemonSet"].contains(&text(object, "/kind")));
    for object in workloads {
        remove(&client, &Address::of(object)?).await?;
    }
    gone(&client, args.timeout).await?;
    for object in others.into_iter().rev() {
        remove(&client, &Address::of(object)?).await?;
    }
    remove(&client, &lease()?).await?;
    for namespace in objects.iter().filter(is_namespace) {
        remove_namespace(&client, &Address::of(namespace)?, args.timeout).await?;
    }
    if args.crds {
        remove_definitions(&client, args.timeout).await?;
    }
    render::line("\nWeft is removed; pods that were in the mesh work on without it.");
    Ok(0)
}

fn confirmed(crds: bool) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!("this removes Weft from the cluster; without a terminal to ask on, give --yes");
    }
    let policies = if crds { " and all of its policies" } else { "" };
    render::note(&format!("Remove Weft{policies} from this cluster? [y/N]"));
    let mut answer = String::new();
    stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Every agent releases its pods; returns when nothing of ours is in any of them.
async fn leave(client: &Client, objects: &[Value], args: &Args) -> anyhow::Result<()> {
    let agent = objects
        .iter()
        .find(|object| {
            text(object, "/kind") == "DaemonSet" && text(object, "/metadata/name") == "weft-agent"
        })
        .context("the manifests have no agent")?;
    let agent = Address::of(agent)?;
    if agent.find(client).await?.is_none() {
        render::line(&format!("{agent} is not there: no pod is asked to leave"));
        return Ok(());
    }
    let container = "/spec/template/spec/containers/0";
    let leaving = json!([{"op": "add", "path": format!("{container}/args"), "value": ["--leave"]}]);
    agent.change(client, leaving).await?;
    render::line(&format!("{agent} leaving: pods go out of the mesh"));
    let agents = [("daemonsets", "weft-agent")];
    let left = rollout::wait(client, &agents, args.timeout, render::note).await;
    match left {
        Err(error) if args.force => render::note(&format!("not all pods have left: {error:#}")),
        Err(error) => bail!(
            "{error:#}\nPods with open connections leave when these end; wait longer with --timeout, or give --force"
        ),
        Ok(()) => {}
    }
    Ok(())
}

async fn remove(client: &Client, address: &Address) -> anyhow::Result<()> {
    if address.delete(client).await? {
        render::line(&format!("{address} deleted"));
    }
    Ok(())
}

/// Waits until no pod of ours is left.
async fn gone(client: &Client, timeout: Duration) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={PARTS}");
    let deadline = Instant::now() + timeout;
    loop {
        let pods = get(client, &path).await;
        let left = match &pods {
            Ok(pods) => list(pods, "/items").len(),
            Err(error) => bail!("{}", reason(error)),
        };
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "{left} pods of Weft still run after {timeout:?}; see: kubectl -n {NAMESPACE} get pods"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The namespace goes if nobody else has put pods there.
async fn remove_namespace(
    client: &Client,
    address: &Address,
    timeout: Duration,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    match get(client, &path).await {
        Ok(pods) if list(&pods, "/items").is_empty() => {}
        Ok(_) => {
            render::line(&format!("{address} kept: there are other pods in it"));
            return Ok(());
        }
        Err(error) => bail!("{}", reason(&error)),
    }
    remove(client, address).await?;
    ended(client, address, timeout).await
}

/// Waits until the object is no longer there: namespaces and definitions take what belongs to them along first.
async fn ended(client: &Client, address: &Address, timeout: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    while address.find(client).await?.is_some() {
        if Instant::now() >= deadline {
            bail!(
                "{address} is still ending after {timeout:?}; its status says why: kubectl get {address} -o yaml"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Those that are ours, and with them their objects.
async fn remove_definitions(client: &Client, timeout: Duration) -> anyhow::Result<()> {
    let mut removed = Vec::new();
    for definition in [manifests::definitions()?, manifests::gateway_api()?].concat() {
        let (address, there) = definitions::in_place_of(client, &definition).await?;
        let Some(there) = there else {
            continue;
        };
        match definitions::why_not_ours(&there, Some(&definition)) {
            Some(why) => render::line(&format!("{address} left alone: {why}")),
            None => {
                remove(client, &address).await?;
                removed.push(address);
            }
        }
    }
    for address in removed {
        ended(client, &address, timeout).await?;
    }
    Ok(())
}

fn lease() -> anyhow::Result<Address> {
    Address::of(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "weft-operator", "namespace": NAMESPACE},
    }))
}
