//! Whether the mesh wants a pod, and what its namespace asks of the access log.

use std::collections::BTreeMap;

use weft_k8s::Name;
use weft_k8s::core::Namespace;
use weft_k8s::meta::Metadata;
use weft_model::pod::{AccessLog, Mode};

use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::Findings;
use crate::pass::marks::Marks;
use crate::workloads::LivePod;

/// Our label.
pub(crate) const MODE: &str = "weft.mesh/mode";
/// Istio's label, read where ours is not set.
pub(crate) const ISTIO_MODE: &str = "istio.io/dataplane-mode";
/// Annotation of a namespace.
pub(crate) const ACCESS_LOG: &str = "weft.mesh/access-log";
/// Namespaces that are never captured: the cluster must start without us.
pub(crate) const NEVER: [&str; 2] = ["kube-system", "weft-system"];

/// Whether the pod is captured. The pod's own label wins over its namespace's.
pub(crate) fn of_pod(cluster: &Cluster<'_>, live: &LivePod<'_>, findings: &mut Findings) -> Mode {
    let namespace = &live.name.namespace;
    let asked =
        asked(&live.pod().metadata).or_else(|| asked(&of_namespace(cluster, namespace)?.metadata));
    let obstacle = if live.pod().spec.host_network {
        Some("hostNetwork: the pod shares the node's network".to_owned())
    } else if NEVER.contains(&namespace.as_str()) {
        Some(format!("namespace {namespace} is never captured"))
    } else {
        None
    };
    match (asked, obstacle) {
        (Some(true), None) => Mode::Enabled,
        (asked, Some(obstacle)) => {
            if asked == Some(true) {
                findings.add(
                    Code::CannotCapture,
                    live.subject(),
                    "metadata.labels",
                    format!("not captured: {obstacle}"),
                );
            }
            Mode::Disabled(obstacle)
        }
        (Some(false), None) => {
            Mode::Disabled("a label of the pod or its namespace opts out".to_owned())
        }
        (None, None) => Mode::Disabled(format!(
            "namespace {namespace} is not labelled {MODE}: enabled"
        )),
    }
}

/// Every namespace, and whether its pods are captured unless their own labels opt out.
pub(crate) fn of_namespaces(cluster: &Cluster<'_>) -> BTreeMap<String, bool> {
    let captured = |name: &str, namespace: &Namespace| {
        asked(&namespace.metadata) == Some(true) && !NEVER.contains(&name)
    };
    let all = cluster.snapshot.namespaces.iter();
    all.map(|(name, namespace)| (name.name.clone(), captured(&name.name, &namespace.value)))
        .collect()
}

/// Which requests of the namespace's pods are logged.
pub(crate) fn access_log(cluster: &Cluster<'_>, namespace: &str) -> AccessLog {
    let text = of_namespace(cluster, namespace)
        .and_then(|namespace| namespace.metadata.annotations.get(ACCESS_LOG));
    text.and_then(|text| read_access_log(text))
        .unwrap_or_default()
}

/// Findings about the labels and annotations that this module reads.
pub(crate) fn lint(marks: Marks<'_>, is_namespace: bool, findings: &mut Findings) {
    for (key, wanted) in [
        (MODE, "enabled or disabled"),
        (ISTIO_MODE, "ambient or none"),
    ] {
        if let Some(value) = marks.label(key).filter(|value| read(key, value).is_none()) {
            let message = format!("\"{value}\" is no mode; write {wanted}");
            marks.about_label(key, Code::InvalidMode, message, findings);
        }
        marks.no_annotation(key, findings);
    }
    marks.no_label(ACCESS_LOG, findings);
    match marks.annotation(ACCESS_LOG) {
        Some(_) if !is_namespace => {
            let message =
                format!("{ACCESS_LOG} is read on namespaces only; move it to the Namespace");
            marks.about_annotation(ACCESS_LOG, Code::WrongPlace, message, findings);
        }
        Some(text) if read_access_log(text).is_none() => {
            let message = format!("\"{text}\" is no kind of access log; write off, errors or all");
            marks.about_annotation(ACCESS_LOG, Code::InvalidAnnotation, message, findings);
        }
        _ => {}
    }
}

fn of_namespace<'a>(cluster: &Cluster<'a>, namespace: &str) -> Option<&'a Namespace> {
    cluster
        .snapshot
        .namespaces
        .get(&Name::new("", namespace))
        .map(|located| &*located.value)
}

/// What an object's labels ask for; ours before Istio's. A value that cannot be read asks for nothing.
fn asked(metadata: &Metadata) -> Option<bool> {
    let key = if metadata.labels.contains_key(MODE) {
        MODE
    } else {
        ISTIO_MODE
    };
    metadata.labels.get(key).and_then(|value| read(key, value))
}

fn read(key: &str, value: &str) -> Option<bool> {
    match (key, value) {
        (MODE, "enabled") | (ISTIO_MODE, "ambient") => Some(true),
        (MODE, "disabled") | (ISTIO_MODE, "none") => Some(false),
        _ => None,
    }
}

fn read_access_log(text: &str) -> Option<AccessLog> {
    match text {
        "off" => Some(AccessLog::Off),
        "errors" => Some(AccessLog::Errors),
        "all" => Some(AccessLog::All),
        _ => None,
    }
}
