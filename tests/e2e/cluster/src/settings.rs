//! The files that Kubernetes' programs read, from the templates in `files/`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::image::{COREDNS, PAUSE};
use crate::network::{CONTROL_PLANE_IP, DNS_IP, POD_NETWORK, node_ip, pod_network};

/// Where a node sees the cluster's directory.
pub(crate) const INSIDE: &str = "/mnt";
/// Furnishes a node.
pub(crate) const NODE_SCRIPT: &str = include_str!("../files/node.sh");

/// Puts values in the places of `@NAME@`.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("@{name}@"), value)
        })
}

/// Credentials of `user`, whose keys lie in `keys`.
pub(crate) fn kubeconfig(user: &str, keys: &str) -> String {
    fill(
        include_str!("../files/kubeconfig.yaml"),
        &[
            ("SERVER", &CONTROL_PLANE_IP.to_string()),
            ("USER", user),
            ("KEYS", keys),
        ],
    )
}

/// CoreDNS with all that it needs.
pub(crate) fn coredns() -> String {
    fill(
        include_str!("../files/coredns.yaml"),
        &[("COREDNS", COREDNS), ("DNS", DNS_IP)],
    )
}

/// A node's own files, into its directory.
pub(crate) fn write_node(directory: &Path, name: &str, number: u8) -> anyhow::Result<()> {
    let ip = node_ip(number).to_string();
    let files = [
        (
            "containerd.toml",
            fill(
                include_str!("../files/containerd.toml"),
                &[("PAUSE", PAUSE)],
            ),
        ),
        (
            "kubelet.yaml",
            fill(
                include_str!("../files/kubelet.yaml"),
                &[("IP", &ip), ("DNS", DNS_IP)],
            ),
        ),
        (
            "kube-proxy.yaml",
            fill(
                include_str!("../files/kube-proxy.yaml"),
                &[("NAME", name), ("PODS", POD_NETWORK)],
            ),
        ),
        ("10-pods.conflist", format!("{:#}\n", conflist(number))),
    ];
    for (file, text) in files {
        let path = directory.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The cluster's primary network, as an administrator would have configured it.
fn conflist(number: u8) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pod_network(number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The Node object, made before kubelet registers so that its pod network is the one that is routed.
pub(crate) fn node_object(name: &str, number: u8) -> Value {
    let pods = pod_network(number);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": pods, "podCIDRs": [pods]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_of_a_template_is_left() {
        let directory = std::env::temp_dir().join(format!("weft-cluster-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        write_node(&directory, "node-1", 1).unwrap();
        let written = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        for text in written.chain([kubeconfig("admin", "/keys"), coredns()]) {
            assert!(!text.contains('@'), "{text}");
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
