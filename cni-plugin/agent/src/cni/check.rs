//! CHECK: the pod is known, its rules are as the tables want them, and a proxy serves it.

use weft_model::pod::Mode;
use weft_netns::NetnsId;
use weft_wire::cni::{Answer, Attachment};

use super::{CODE_DRIFT, failed};
use crate::pods::Pods;
use crate::pods::plan::{Stage, Verdict};

/// Answers CHECK; changes nothing.
pub(super) async fn check(pods: &Pods, attachment: &Attachment, netns: NetnsId) -> Answer {
    let bound = pods.bound();
    let found = bound.find(
        attachment.pod_uid.as_deref(),
        &attachment.pod_namespace,
        &attachment.pod_name,
    );
    let Some(pod) = found else {
        return Answer::TryAgain {
            reason: "the operator has not told this node of the pod".to_owned(),
        };
    };
    if let Mode::Disabled(_) = pod.mode {
        return Answer::Ok { captured: false };
    }
    let drift = |what: String| {
        failed(
            CODE_DRIFT,
            what,
            "delete the pod, or restart weft-agent, to have it captured again",
        )
    };
    let cell = pods.known(&pod.workload.uid);
    let home = cell
        .as_ref()
        .and_then(|cell| cell.home())
        .filter(|home| home.netns.id() == netns);
    let (Some(cell), Some(home)) = (cell, home) else {
        return drift("the agent does not know this namespace as the pod's".to_owned());
    };
    if !matches!(cell.shown(), Some(Stage::Captured { .. })) {
        let why = cell
            .trouble()
            .map_or_else(|| "it is on its way".to_owned(), |trouble| trouble.text);
        return drift(format!("the pod is not captured: {why}"));
    }
    match pods.kernel.verify(home.netns, pod.capture.clone()).await {
        Ok(Ok(())) => {}
        Ok(Err(found)) => return drift(found.to_string()),
        Err(trouble) => return drift(trouble.text),
    }
    match pods.handover.verdict(cell.uid()) {
        Verdict::Served => Answer::Ok { captured: true },
        Verdict::Refused(reason) => drift(format!("the proxy refuses the pod: {reason}")),
        Verdict::Pending | Verdict::Nobody => {
            drift("no weft-proxy serves the pod; its connections wait".to_owned())
        }
    }
}
