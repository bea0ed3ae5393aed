//! Whether a Deployment or DaemonSet runs as it was asked for (the rules of `kubectl rollout status`), and what keeps the
//! pods that do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use super::{NAMESPACE, PARTS, get, is_true, list, number, reason, text};

/// All of Weft's workloads: plural and name.
pub(crate) const WORKLOADS: [(&str, &str); 3] = [
    ("deployments", "weft-operator"),
    ("daemonsets", "weft-agent"),
    ("daemonsets", "weft-proxy"),
];
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// How far a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Everything that it should be runs and is ready.
    pub(crate) done: bool,
    /// In words: `1 of 2 nodes ready`.
    pub(crate) text: String,
}

/// Path of a workload of Weft's.
pub(crate) fn path(plural: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/{plural}/{name}")
}

/// Judges a Deployment or DaemonSet.
pub(crate) fn progress(object: &Value) -> Progress {
    let observed =
        number(object, "/status/observedGeneration") >= number(object, "/metadata/generation");
    let (what, wanted, updated, available, old) = match object.pointer("/spec/replicas") {
        Some(wanted) => {
            let updated = number(object, "/status/updatedReplicas");
            let available = number(object, "/status/availableReplicas");
            let old = number(object, "/status/replicas") - updated;
            (
                "replicas",
                wanted.as_i64().unwrap_or(1),
                updated,
                available,
                old,
            )
        }
        None => (
            "nodes",
            number(object, "/status/desiredNumberScheduled"),
            number(object, "/status/updatedNumberScheduled"),
            number(object, "/status/numberAvailable"),
            0,
        ),
    };
    let ready = available.min(updated);
    let mut text = format!("{ready} of {wanted} {what} ready");
    if updated < wanted && updated > 0 && available >= wanted {
        // Writing to a string does not fail.
        let _ = write!(text, ", {} still to be exchanged", wanted - updated);
    }
    Progress {
        done: observed && updated >= wanted && available >= wanted && old <= 0,
        text,
    }
}

/// Waits until all are done; `say` is told every step.
///
/// # Errors
/// The time is over: the text names the pods and what keeps them.
pub(crate) async fn wait(
    client: &Client,
    workloads: &[(&str, &str)],
    timeout: Duration,
    mut say: impl FnMut(&str),
) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    let mut said: BTreeMap<&str, String> = BTreeMap::new();
    loop {
        let mut open = Vec::new();
        for (plural, name) in workloads {
            let now = match get(client, &path(plural, name)).await {
                Ok(object) => progress(&object),
                // An API server that is away for a moment is waited for too.
                Err(error) => Progress {
                    done: false,
                    text: reason(&error),
                },
            };
            if said.get(name) != Some(&now.text) {
                say(&format!("{name}: {}", now.text));
                said.insert(name, now.text.clone());
            }
            if !now.done {
                open.push(format!("{name} ({})", now.text));
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let mut text = format!("not ready after {timeout:?}: {}", open.join(", "));
            for trouble in troubles(client).await {
                text.push_str("\n  ");
                text.push_str(&trouble);
            }
            bail!("{text}\nsee: kubectl -n {NAMESPACE} describe pods");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn troubles(client: &Client) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={PARTS}");
    match get(client, &path).await {
        Ok(pods) => list(&pods, "/items").iter().filter_map(trouble).collect(),
        Err(error) => vec![reason(&error)],
    }
}

/// What keeps a pod from being ready, if it is not.
pub(crate) fn trouble(pod: &Value) -> Option<String> {
    if is_true(pod, "Ready") {
        return None;
    }
    let name = text(pod, "/metadata/name");
    let place = match text(pod, "/spec/nodeName") {
        "" => String::new(),
        node => format!(" on {node}"),
    };
    let waits = list(pod, "/status/containerStatuses")
        .iter()
        .find_map(|status| {
            let state = ["/state/waiting", "/state/terminated"]
                .iter()
                .find_map(|state| status.pointer(state));
            let (why, more) = state
                .map(|state| (text(state, "/reason"), text(state, "/message")))
                .filter(|(why, _)| !why.is_empty())?;
            Some(if more.is_empty() {
                why.to_owned()
            } else {
                format!("{why}: {more}")
            })
        });
    let unscheduled = list(pod, "/status/conditions")
        .iter()
        .find(|said| text(said, "/type") == "PodScheduled" && text(said, "/status") == "False");
    let why = match (waits, unscheduled) {
        (Some(why), _) => why,
        (None, Some(said)) => text(said, "/message").to_owned(),
        (None, None) => "runs, but is not ready".to_owned(),
    };
    Some(format!("pod {name}{place}: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_is_done_when_its_newest_version_runs_everywhere() {
        let deployment = |status: Value| json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status});
        let done = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(
            progress(&deployment(done.clone())),
            Progress {
                done: true,
                text: "2 of 2 replicas ready".to_owned()
            }
        );
        for (field, value) in [
            ("observedGeneration", 1),
            ("replicas", 3),
            ("updatedReplicas", 1),
            ("availableReplicas", 1),
        ] {
            let mut status = done.clone();
            status[field] = json!(value);
            assert!(!progress(&deployment(status)).done, "{field}");
        }
        let daemons = json!({"metadata": {"generation": 1}, "spec": {}, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 3,
        }});
        let now = progress(&daemons);
        assert!(!now.done);
        assert_eq!(now.text, "1 of 3 nodes ready, 2 still to be exchanged");
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let pod = |status: Value| json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": status});
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(trouble(&pod(ready)), None);
        let image = json!({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]});
        assert_eq!(
            trouble(&pod(image)).unwrap(),
            "pod a on n: ErrImagePull: no such image"
        );
        let nowhere = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]});
        assert!(
            trouble(&pod(nowhere))
                .unwrap()
                .ends_with("0/2 nodes are available")
        );
        assert!(trouble(&pod(json!({}))).unwrap().contains("not ready"));
    }
}
