//! What a cluster adds to the user's objects: namespaces that must exist, pods' statuses, headless names.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::control::services;
use crate::object::{Key, Objects};
use crate::view::Pod;

/// In a cluster nothing lives in a namespace that does not exist.
pub(crate) fn missing_namespaces(objects: &Objects) -> Objects {
    let used = objects
        .keys()
        .map(|k| k.namespace.as_str())
        .filter(|n| !n.is_empty());
    let all: BTreeSet<&str> = used.chain(["default"]).collect();
    all.into_iter()
        .map(|name| (Key::new("Namespace", "", name), name))
        .filter(|(key, _)| !objects.contains_key(key))
        .map(|(key, name)| {
            let object = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            });
            (key, object)
        })
        .collect()
}

/// Where a Service's name leads: its cluster addresses, or its ready pods when it is headless.
pub(crate) fn addresses_of(service: &Value, slices: &[(Key, Value)]) -> Vec<IpAddr> {
    let own = services::own(service);
    if !own.is_empty() {
        return own;
    }
    let endpoints = slices
        .iter()
        .filter_map(|(_, s)| s["endpoints"].as_array())
        .flatten();
    let ready = endpoints.filter(|e| e["conditions"]["ready"] == true);
    ready
        .filter_map(|e| e["addresses"][0].as_str()?.parse().ok())
        .collect()
}

/// The Pod object as a kubelet would report it.
pub(crate) fn with_status(pod: &Pod, object: &Value) -> Value {
    let mut object = object.clone();
    let ready = if pod.ready { "True" } else { "False" };
    let mut status = json!({
        "phase": if pod.pids.is_empty() { "Pending" } else { "Running" },
        "conditions": [{"type": "Ready", "status": ready}],
    });
    if let Some(first) = pod.ips.first() {
        status["podIP"] = json!(first);
        status["podIPs"] = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
    }
    object["status"] = status;
    object
}
