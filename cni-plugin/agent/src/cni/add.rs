//! ADD: looks the pod up, proves that the namespace is its, and waits until it is captured and served. What was done for
//! a pod that does not get there in time is undone before the answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_model::pod::{LocalPod, Mode};
use weft_netns::Netns;
use weft_wire::cni::{Answer, Attachment};

use super::{CODE_NOT_OWNER, CODE_PORT_TAKEN, CODE_REFUSED, CODE_RULES, CODE_SYSTEM, failed};
use crate::pods::plan::{Verdict, Wait};
use crate::pods::{Home, PodCell, Pods, Settled, record};
use crate::trouble::{Kind, Trouble};

/// How long a pod may be unknown: its manifest travels through the operator while the runtime makes its sandbox.
const LOOKUP_DEADLINE: Duration = Duration::from_millis(1_500);
/// The whole of ADD, with room left before the plugin itself gives up (`weft_wire::cni::DEADLINE`).
const DEADLINE: Duration = Duration::from_millis(4_500);

/// A proxy that was just told to let go of this namespace closes its sockets within this time; a port that is still taken
/// afterwards is the application's.
const CLOSING_GRACE: Duration = Duration::from_millis(500);
/// Pause between two looks at it.
const CLOSING_PAUSE: Duration = Duration::from_millis(20);

/// Answers ADD.
pub(super) async fn add(pods: &Pods, attachment: Attachment, netns: Arc<Netns>) -> Answer {
    let until = Instant::now() + DEADLINE;
    let Some((uid, pod)) = lookup(pods, &attachment).await else {
        return unknown(pods, &attachment);
    };
    if let Mode::Disabled(_) = pod.mode {
        leave(pods, &uid, &netns).await;
        return Answer::Ok { captured: false };
    }
    if let Err(answer) = owns(pods, &attachment, &netns).await {
        return answer;
    }
    let id = netns.id();
    // A scan may have given the namespace to a pod whose address it was before; the runtime knows better.
    while let Some(other) = pods.other_in(id, &uid) {
        other.move_out(id);
        pods.drive(&other).await;
    }
    let cell = pods.cell(&uid);
    let home = Home {
        netns,
        ips: attachment.ips,
        attachment: Some(record::Attachment {
            container_id: attachment.container_id,
            ifname: attachment.ifname,
            network: attachment.network,
        }),
    };
    let news = cell.move_in(home);
    if !news {
        // The runtime repeats itself; somebody may have changed the rules in between.
        pods.doubt(&cell).await;
    }
    let answer = captured(pods, &cell, until).await;
    if news && !matches!(answer, Answer::Ok { .. }) {
        cell.move_out(id);
        pods.drive(&cell).await;
    }
    answer
}

/// Waits for the pod to appear in the tables.
async fn lookup(pods: &Pods, attachment: &Attachment) -> Option<(String, Arc<LocalPod>)> {
    let mut tables = pods.tables.clone();
    let found = tables.wait_for(|bound| find(bound, attachment).is_some());
    let found = tokio::time::timeout(LOOKUP_DEADLINE, found)
        .await
        .ok()?
        .ok()?;
    find(&found, attachment).map(|pod| (pod.workload.uid.clone(), Arc::clone(pod)))
}

fn find<'a>(bound: &'a crate::bound::Bound, attachment: &Attachment) -> Option<&'a Arc<LocalPod>> {
    bound.find(
        attachment.pod_uid.as_deref(),
        &attachment.pod_namespace,
        &attachment.pod_name,
    )
}

/// A pod that the tables do not name passes only where nobody of its namespace is in the mesh.
fn unknown(pods: &Pods, attachment: &Attachment) -> Answer {
    let bound = pods.bound();
    if bound.is_outside(&attachment.pod_namespace) {
        return Answer::Ok { captured: false };
    }
    let why = match bound.generation {
        0 => "no tables have come from the operator yet",
        _ => "the operator has not told this node of the pod",
    };
    Answer::TryAgain {
        reason: why.to_owned(),
    }
}

/// The pod is not in the mesh. Should an earlier sandbox of it have been, that one is gone.
async fn leave(pods: &Pods, uid: &str, netns: &Netns) {
    if let Some((cell, old)) = pods
        .known(uid)
        .and_then(|cell| cell.home().map(|home| (cell, home)))
        && old.netns.id() != netns.id()
    {
        cell.move_out(old.netns.id());
        pods.drive(&cell).await;
    }
}

/// The namespace must own every address that the previous plugin reported, or its traffic would be taken for another's.
async fn owns(pods: &Pods, attachment: &Attachment, netns: &Arc<Netns>) -> Result<(), Answer> {
    let owned = match pods.kernel.addresses(Arc::clone(netns)).await {
        Ok(owned) => owned,
        Err(trouble) => {
            return Err(failed(
                CODE_SYSTEM,
                trouble.text,
                "the pod's network namespace cannot be read",
            ));
        }
    };
    if attachment.ips.is_empty() {
        let details = "weft-cni works behind a plugin that gives the pod an address";
        return Err(failed(
            CODE_NOT_OWNER,
            "the previous plugin reported no address",
            details,
        ));
    }
    match attachment
        .ips
        .iter()
        .find(|ip| !owned.contains(&ip.to_canonical()))
    {
        None => Ok(()),
        Some(ip) => Err(failed(
            CODE_NOT_OWNER,
            format!("the namespace {} does not own {ip}", attachment.netns),
            "the result of the previous plugin and the namespace do not belong together",
        )),
    }
}

/// Drives the pod until it is captured and a proxy serves it.
async fn captured(pods: &Pods, cell: &Rc<PodCell>, until: Instant) -> Answer {
    let (mut tables, mut proxies) = (pods.tables.clone(), pods.handover.changed());
    let closing = Instant::now() + CLOSING_GRACE;
    loop {
        tables.mark_unchanged();
        proxies.mark_unchanged();
        let waits_for = match pods.drive(cell).await {
            Settled::Rest { captured: true } => match pods.handover.verdict(cell.uid()) {
                Verdict::Served => return Answer::Ok { captured: true },
                _ => Wait::Proxy,
            },
            Settled::Rest { captured: false } if cell.home().is_some() => {
                return Answer::Ok { captured: false };
            }
            Settled::Rest { captured: false } => {
                return Answer::TryAgain {
                    reason: "the pod was deleted while it was added".to_owned(),
                };
            }
            Settled::Waiting(Wait::Acceptance(reason)) => {
                let details = "the proxy says why; its log has more";
                return failed(
                    CODE_REFUSED,
                    format!("the proxy refuses the pod: {reason}"),
                    details,
                );
            }
            Settled::Waiting(wait) => wait,
            Settled::Failed(trouble)
                if trouble.kind == Kind::PortTaken && Instant::now() < closing =>
            {
                tokio::time::sleep(CLOSING_PAUSE).await;
                continue;
            }
            Settled::Failed(trouble) => return broken(&trouble),
        };
        tokio::select! {
            _ = tables.changed() => {}
            _ = proxies.changed() => {}
            () = tokio::time::sleep_until(until.into()) => return Answer::TryAgain { reason: late(&waits_for).to_owned() },
        }
    }
}

fn late(wait: &Wait) -> &'static str {
    match wait {
        Wait::Proxy => "no weft-proxy is connected to the agent of this node",
        Wait::Ack | Wait::Acceptance(_) => "weft-proxy has not acknowledged the pod in time",
        Wait::Idle => "an earlier capture of the pod is still being released",
        Wait::Tables => "the operator no longer names the pod",
    }
}

fn broken(trouble: &Trouble) -> Answer {
    match trouble.kind {
        Kind::PortTaken => failed(
            CODE_PORT_TAKEN,
            &trouble.text,
            "move the application to another port, or take the pod out of the mesh (label weft.mesh/mode: disabled)",
        ),
        Kind::Rules => failed(
            CODE_RULES,
            &trouble.text,
            "weft-agent's log has the whole of it",
        ),
        Kind::NoNamespace | Kind::NoProxy | Kind::ProxyRefused | Kind::System => failed(
            CODE_SYSTEM,
            &trouble.text,
            "weft-agent's log has the whole of it",
        ),
    }
}
