//! What metrics and policy ask of a pod: its owner as people know it, its app, version and canonical names.

use std::collections::BTreeMap;

use weft_k8s::core::Pod;
use weft_model::id::ObjectName;
use weft_model::workload::{Membership, Workload};

use crate::cluster::Cluster;
use crate::workloads::LivePod;

/// Label by which a ReplicaSet tells its pods apart.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Fewest digits of the time that a CronJob appends to its jobs' names.
const CRON_DIGITS: usize = 8;

/// The pod as a workload; the caller adds memberships, capture and policies.
pub(crate) fn describe(
    cluster: &Cluster<'_>,
    live: &LivePod<'_>,
    services: Vec<Membership>,
) -> Workload {
    let pod = live.pod();
    let labels = &pod.metadata.labels;
    let workload = owner(pod);
    let canonical_service = first(
        labels,
        &[
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ],
        &workload,
    );
    let revision_labels = [
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ];
    let canonical_revision = first(labels, &revision_labels, "latest");
    let service_account = &pod.spec.service_account_name;
    Workload {
        id: live.id,
        uid: uid(live),
        pod: ObjectName::new(&live.name.namespace, &live.name.name),
        node: pod.spec.node_name.clone(),
        ips: live.ips.clone(),
        service_account: if service_account.is_empty() {
            "default".to_owned()
        } else {
            service_account.clone()
        },
        app: first(labels, &["app"], &canonical_service),
        version: first(labels, &["version"], &canonical_revision),
        workload,
        canonical_service,
        canonical_revision,
        cluster: cluster.settings.cluster_name.clone(),
        labels: labels.clone(),
        captured: false,
        ingress_policy: false,
        egress_policy: false,
        services,
    }
}

/// Annotation of a static pod's mirror: the uid under which the kubelet runs the pod, and gives it to the container
/// runtime and so to the CNI plugin. The mirror's own uid is known to the API server only.
const STATIC_UID: &str = "kubernetes.io/config.hash";
/// Only mirrors carry it; a hand-written copy of a static pod's manifest does not become one by the other alone.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The uid under which the node knows the pod; a hand-written manifest has none, then the name stands for it.
pub(crate) fn uid(live: &LivePod<'_>) -> String {
    let uid = static_uid(live).unwrap_or(&live.pod().metadata.uid);
    if uid.is_empty() {
        live.name.to_string()
    } else {
        uid.clone()
    }
}

/// The API server's uid where the node knows the pod by another one.
pub(crate) fn other_uid(live: &LivePod<'_>) -> Option<String> {
    let uid = &live.pod().metadata.uid;
    let differs = static_uid(live).is_some_and(|own| own != uid);
    (differs && !uid.is_empty()).then(|| uid.clone())
}

fn static_uid<'a>(live: &LivePod<'a>) -> Option<&'a String> {
    let annotations = &live.pod().metadata.annotations;
    let mirrored = annotations.contains_key(MIRROR);
    annotations
        .get(STATIC_UID)
        .filter(|uid| mirrored && !uid.is_empty())
}

fn first(labels: &BTreeMap<String, String>, keys: &[&str], otherwise: &str) -> String {
    let found = keys
        .iter()
        .find_map(|key| labels.get(*key).filter(|value| !value.is_empty()));
    found.map_or_else(|| otherwise.to_owned(), Clone::clone)
}

/// The owner as people know it: the Deployment behind a ReplicaSet, the CronJob behind a Job, else the controller.
fn owner(pod: &Pod) -> String {
    let controller = pod
        .metadata
        .owner_references
        .iter()
        .find(|owner| owner.controller == Some(true));
    let Some(owner) = controller.or_else(|| pod.metadata.owner_references.first()) else {
        return pod.metadata.name.clone();
    };
    let cut = match owner.kind.as_str() {
        "ReplicaSet" => pod
            .metadata
            .labels
            .get(TEMPLATE_HASH)
            .and_then(|hash| owner.name.strip_suffix(hash.as_str())),
        "Job" => {
            let cut = owner.name.trim_end_matches(|c: char| c.is_ascii_digit());
            Some(cut).filter(|cut| owner.name.len() - cut.len() >= CRON_DIGITS)
        }
        _ => None,
    };
    let cut = cut
        .and_then(|cut| cut.strip_suffix('-'))
        .filter(|cut| !cut.is_empty());
    cut.unwrap_or(&owner.name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_k8s::meta::OwnerReference;

    fn pod(kind: &str, owner: &str, hash: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "p".to_owned();
        pod.metadata
            .labels
            .insert(TEMPLATE_HASH.to_owned(), hash.to_owned());
        pod.metadata.owner_references = vec![OwnerReference {
            kind: kind.to_owned(),
            name: owner.to_owned(),
            ..OwnerReference::default()
        }];
        pod
    }

    #[test]
    fn owners_are_named_as_people_know_them() {
        let rows = [
            ("ReplicaSet", "reviews-v1-5d4f", "5d4f", "reviews-v1"),
            ("ReplicaSet", "by-hand", "5d4f", "by-hand"),
            ("StatefulSet", "db", "", "db"),
            ("Job", "backup-28500000", "", "backup"),
            ("Job", "once-3", "", "once-3"),
            ("ReplicaSet", "-5d4f", "5d4f", "-5d4f"),
        ];
        for (kind, name, hash, expected) in rows {
            assert_eq!(owner(&pod(kind, name, hash)), expected, "{name}");
        }
        let mut alone = pod("Job", "x", "");
        alone.metadata.owner_references.clear();
        assert_eq!(owner(&alone), "p");
    }
}
