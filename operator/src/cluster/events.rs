//! Says on each pod that should be captured and is not why (`events.k8s.io/v1`), so that `kubectl describe pod` shows it.
//!
//! An event's name follows from pod, reason, message and half hour: however often it is written, and by whichever
//! replica, it is there once; and as the API server forgets events after an hour, a trouble that lasts is said again.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::conditions::CONTROLLER;
use super::lease::{Seat, Seats};
use crate::uncaptured::{List, Uncaptured};
use weft_access::reason;

/// From one event to the next: at most ten a second.
const BETWEEN: Duration = Duration::from_millis(100);
/// Without news the list is looked at again after this time.
const LOOK: Duration = Duration::from_secs(30);
/// A trouble that lasts is said again after this time, seconds.
const AGAIN: i64 = 1_800;
/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(5);
/// Longest note of an event, bytes (the API's limit).
const LONGEST: usize = 1_024;
/// Longest part of a pod's name in an event's; the whole may have 253 bytes.
const LONGEST_NAME: usize = 200;

/// The writer of events.
pub struct Events {
    /// The API server.
    pub client: Client,
    /// What is to be said.
    pub list: List,
    /// Whether this replica leads.
    pub seats: Seats,
    /// Who says it.
    pub identity: String,
}

impl Events {
    /// Runs for as long as it is polled.
    pub async fn run(mut self) {
        let mut said: BTreeSet<String> = BTreeSet::new();
        loop {
            let leads = self.seats.wait_for(|seat| *seat == Seat::Leads);
            if leads.await.is_err() {
                return;
            }
            let now = Timestamp::now();
            let all: Vec<(String, Uncaptured)> = {
                let list = self.list.borrow_and_update();
                let named = list
                    .iter()
                    .map(|pod| (name(pod, now.as_second()), pod.clone()));
                named.collect()
            };
            let current: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            said.retain(|name| current.contains(name.as_str()));
            for (name, pod) in &all {
                if said.contains(name) || *self.seats.borrow() != Seat::Leads {
                    continue;
                }
                if self.say(name, pod, now).await {
                    said.insert(name.clone());
                }
                tokio::time::sleep(BETWEEN).await;
            }
            if let Ok(Err(_)) = tokio::time::timeout(LOOK, self.list.changed()).await {
                return;
            }
        }
    }

    /// Writes one event; whether it need not be tried again.
    async fn say(&self, name: &str, pod: &Uncaptured, now: Timestamp) -> bool {
        let (namespace, _) = pod.pod.split_once('/').unwrap_or_default();
        let gvk = GroupVersionKind::gvk("events.k8s.io", "v1", "Event");
        let resource = ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let Ok(event) = serde_json::from_value(event(name, pod, now, &self.identity)) else {
            return true;
        };
        let parameters = PostParams::default();
        let created = api.create(&parameters, &event);
        match tokio::time::timeout(REQUEST, created).await {
            Ok(Ok(_)) => true,
            // Said already, or the namespace is going.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404 | 409) => {
                if status.code == 403 {
                    tracing::warn!(
                        pod = pod.pod,
                        error = status.message,
                        "cannot write an event"
                    );
                }
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    pod = pod.pod,
                    error = reason(&error),
                    "cannot write an event"
                );
                false
            }
            Err(_) => false,
        }
    }
}

fn name(pod: &Uncaptured, second: i64) -> String {
    let mut hasher = DefaultHasher::new();
    (&pod.uid, pod.reason.as_str(), &pod.message, second / AGAIN).hash(&mut hasher);
    let (_, name) = pod.pod.split_once('/').unwrap_or_default();
    // Names of objects are ASCII.
    let name = name.get(..LONGEST_NAME).unwrap_or(name);
    format!(
        "{}.weft-{:016x}",
        name.trim_end_matches(['-', '.']),
        hasher.finish()
    )
}

fn event(name: &str, pod: &Uncaptured, now: Timestamp, identity: &str) -> Value {
    let (namespace, pod_name) = pod.pod.split_once('/').unwrap_or_default();
    let note = format!("not captured by the mesh: {}", pod.message);
    let end = (0..=LONGEST.min(note.len()))
        .rev()
        .find(|end| note.is_char_boundary(*end));
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "reportingController": CONTROLLER, "reportingInstance": identity,
        "action": "Capture", "type": "Warning", "reason": pod.reason.as_str(),
        "note": note.get(..end.unwrap_or(0)).unwrap_or_default(),
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod_name, "uid": pod.uid},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uncaptured::Cause;

    #[test]
    fn a_name_stands_for_pod_reason_message_and_half_hour() {
        let pod = Uncaptured {
            pod: format!("shop/{}", "a".repeat(253)),
            uid: "u".to_owned(),
            node: "n".to_owned(),
            reason: Cause::NoAgent,
            message: "away".to_owned(),
            unexpected: true,
        };
        let first = name(&pod, AGAIN * 7);
        assert_eq!(first, name(&pod, AGAIN * 7 + AGAIN - 1));
        assert_ne!(first, name(&pod, AGAIN * 8));
        assert!(first.len() <= 253, "{}", first.len());
        let other = Uncaptured {
            message: "other".to_owned(),
            ..pod
        };
        assert_ne!(first, name(&other, AGAIN * 7));
    }
}
