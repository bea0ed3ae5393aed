//! Pods that their namespace or label puts into the mesh and that are not in it, with the reason: those that cannot be
//! captured, those that an agent reports, those whose node has no agent. What comes and goes within seconds, as while
//! a node starts, is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use weft_compile::Code;
use weft_model::pod::{LocalPod, Mode};

use crate::pipeline::Handle;
use crate::published::Published;
use crate::status::{NodeStatus, Nodes};

/// An agent's report counts when it has lasted so long.
const REPORT_GRACE: Duration = Duration::from_secs(5);
/// A node's agent may be away for so long: it restarts, or finds another operator.
const AGENT_GRACE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Why a pod is not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Cause {
    /// It is of a sort that cannot be captured.
    CannotCapture,
    /// Its agent has met an obstacle.
    CaptureFailed,
    /// Its node has no agent.
    NoAgent,
}

impl Cause {
    /// The word, also an event's reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CannotCapture => "CannotCapture",
            Self::CaptureFailed => "CaptureFailed",
            Self::NoAgent => "NoAgent",
        }
    }

    fn grace(self) -> Duration {
        match self {
            Self::CannotCapture => Duration::ZERO,
            Self::CaptureFailed => REPORT_GRACE,
            Self::NoAgent => AGENT_GRACE,
        }
    }
}

/// One pod that is not captured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Uncaptured {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// The uid that the API knows it by.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// Why.
    pub reason: Cause,
    /// In words, with what to do.
    pub message: String,
    /// Whether something is wrong, rather than the pod being one that cannot be captured.
    pub unexpected: bool,
}

/// Follows the list.
pub type List = watch::Receiver<Vec<Uncaptured>>;

#[derive(Serialize)]
struct Page<'a> {
    pods: &'a [Uncaptured],
}

/// The list as JSON, as `/debug/uncaptured` shows it.
#[must_use]
pub fn to_json(list: &List) -> Vec<u8> {
    let pods = list.borrow();
    serde_json::to_vec_pretty(&Page { pods: &pods }).unwrap_or_default()
}

/// Keeps the list, for as long as it is polled.
pub async fn run(pipeline: Handle, nodes: Nodes, list: watch::Sender<Vec<Uncaptured>>) {
    let mut memory = Memory::default();
    loop {
        let now = memory.lasting(&pipeline.current(), &nodes.list(), Instant::now());
        list.send_if_modified(|before| {
            let news = *before != now;
            *before = now;
            news
        });
        tokio::time::sleep(LOOK).await;
    }
}

/// Since when each pod is not captured for a reason.
#[derive(Debug, Default)]
struct Memory(BTreeMap<(String, Cause), Instant>);

impl Memory {
    /// Pods that have not been captured for longer than that may take.
    fn lasting(
        &mut self,
        published: &Published,
        nodes: &[NodeStatus],
        now: Instant,
    ) -> Vec<Uncaptured> {
        let all = find(published, nodes);
        let keys: BTreeSet<(String, Cause)> = all
            .iter()
            .map(|pod| (pod.uid.clone(), pod.reason))
            .collect();
        self.0.retain(|key, _| keys.contains(key));
        all.into_iter()
            .filter(|pod| {
                let key = (pod.uid.clone(), pod.reason);
                let since = *self.0.entry(key).or_insert(now);
                now.saturating_duration_since(since) >= pod.reason.grace()
            })
            .collect()
    }
}

/// Every pod that should be captured and is not, at this moment.
fn find(published: &Published, nodes: &[NodeStatus]) -> Vec<Uncaptured> {
    let asked: BTreeSet<&str> = published
        .diagnostics
        .iter()
        .filter(|finding| finding.code == Code::CannotCapture)
        .map(|finding| finding.name.as_str())
        .collect();
    let agents: BTreeMap<&str, &NodeStatus> = nodes
        .iter()
        .filter(|row| row.kind == "agent")
        .map(|row| (row.node.as_str(), row))
        .collect();
    let mut found = Vec::new();
    for (uid, pod) in &published.compiled.tables.pods {
        let node = &pod.workload.node;
        let cause = match &pod.mode {
            Mode::Disabled(why) if asked.contains(pod.workload.pod.to_string().as_str()) => {
                Some((Cause::CannotCapture, why.clone()))
            }
            Mode::Disabled(_) => None,
            Mode::Enabled => match agents.get(node.as_str()) {
                None => Some((
                    Cause::NoAgent,
                    format!(
                        "no agent of node {node} is connected to the operator: is one running there, and ready? See kubectl -n weft-system get pods -o wide"
                    ),
                )),
                Some(agent) => {
                    let trouble = agent.troubles.iter().find(|trouble| trouble.uid == *uid);
                    trouble.map(|trouble| (Cause::CaptureFailed, trouble.message.clone()))
                }
            },
        };
        found.extend(cause.map(|(reason, message)| uncaptured(uid, pod, reason, message)));
    }
    found.sort();
    found
}

fn uncaptured(uid: &str, pod: &LocalPod, reason: Cause, message: String) -> Uncaptured {
    Uncaptured {
        pod: pod.workload.pod.to_string(),
        uid: pod.api_uid.as_deref().unwrap_or(uid).to_owned(),
        node: pod.workload.node.clone(),
        reason,
        message,
        unexpected: reason != Cause::CannotCapture,
    }
}

#[cfg(test)]
mod tests {
    use weft_compile::{Compiler, Settings};
    use weft_k8s::{Snapshot, parse_file};
    use weft_wire::table::PodTrouble;

    use super::*;

    const MANIFESTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.mesh/mode: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: u-web}
spec: {nodeName: a, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: shop, uid: u-host}
spec: {nodeName: a, hostNetwork: true, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: out, namespace: shop, uid: u-out, labels: {weft.mesh/mode: disabled}}
spec: {nodeName: a, hostNetwork: true, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: shop, uid: u-far}
spec: {nodeName: b, containers: [{name: c}]}
";

    fn published() -> Published {
        let (objects, errors) = parse_file("m", MANIFESTS);
        assert!(errors.is_empty(), "{errors:?}");
        let mut compiled = Compiler::default().compile(
            &Default::default(),
            &Snapshot::from_objects(objects),
            &Settings::default(),
        );
        let diagnostics = std::mem::take(&mut compiled.diagnostics);
        Published::default().next(1, compiled, diagnostics)
    }

    fn agent(node: &str, troubles: Vec<PodTrouble>) -> NodeStatus {
        NodeStatus {
            node: node.to_owned(),
            kind: "agent",
            version: String::new(),
            sent: 1,
            acked: 1,
            number: 1,
            last_nack: None,
            acked_since: Instant::now(),
            troubles,
        }
    }

    fn seen(list: &[Uncaptured]) -> Vec<(&str, Cause)> {
        list.iter()
            .map(|pod| (pod.pod.as_str(), pod.reason))
            .collect()
    }

    #[test]
    fn each_reason_is_told_when_it_has_lasted() {
        let trouble = PodTrouble {
            uid: "u-web".to_owned(),
            reason: "rules".to_owned(),
            message: "nft: permission denied".to_owned(),
        };
        let (published, mut memory, start) = (published(), Memory::default(), Instant::now());
        let nodes = [agent("a", vec![trouble])];
        let mut at =
            |seconds| memory.lasting(&published, &nodes, start + Duration::from_secs(seconds));
        assert_eq!(seen(&at(0)), [("shop/host", Cause::CannotCapture)]);
        let five = at(5);
        let both = [
            ("shop/host", Cause::CannotCapture),
            ("shop/web", Cause::CaptureFailed),
        ];
        assert_eq!(seen(&five), both);
        assert_eq!(five[1].message, "nft: permission denied");
        assert!(five[1].unexpected && !five[0].unexpected);
        let all = at(30);
        assert_eq!(seen(&all)[0], ("shop/far", Cause::NoAgent));
        // All is well again, and then wrong again: the time runs anew.
        let nodes = [agent("a", Vec::new()), agent("b", Vec::new())];
        let well = memory.lasting(&published, &nodes, start + Duration::from_secs(31));
        assert_eq!(seen(&well), [("shop/host", Cause::CannotCapture)]);
        let away = memory.lasting(&published, &nodes[..1], start + Duration::from_secs(40));
        assert_eq!(seen(&away), [("shop/host", Cause::CannotCapture)]);
    }
}
