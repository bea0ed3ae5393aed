//! Whether Weft can be installed: what the API shows of the cluster, its nodes and the caller's rights.

use serde_json::Value;

use super::facts::Facts;
use super::gateway_api::{self, Expected};
use super::report::{Line, Section};
use crate::cluster::{NAMESPACE, is_true, list, text};

/// Oldest minor version of Kubernetes: tokens name the node from then on, which the operator relies on.
const OLDEST_MINOR: u32 = 30;
/// Oldest kernel: the oldest one with long-term support that Kubernetes itself still allows for.
const OLDEST_KERNEL: (u32, u32) = (5, 4);
/// Processors that images are made for.
const PROCESSORS: [&str; 2] = ["amd64", "arm64"];
/// DaemonSets that capture pods' traffic themselves, and what they belong to.
const RIVALS: [(&str, &str); 4] = [
    ("istio-cni-node", "Istio"),
    ("ztunnel", "Istio ambient"),
    ("linkerd-cni", "Linkerd"),
    ("kuma-cni-node", "Kuma"),
];
/// Labels that let another mesh put a sidecar beside the pods of a namespace, and its name.
const INJECTION: [(&str, &str, &str); 2] = [
    ("/metadata/labels/istio-injection", "enabled", "Istio"),
    (
        "/metadata/annotations/linkerd.io~1inject",
        "enabled",
        "Linkerd",
    ),
];

pub(super) fn sections(facts: &Facts) -> Vec<Section> {
    vec![
        api(facts),
        Section::new("weft-permissions", vec![rights(facts)]),
        Section::new("nodes", nodes(facts)),
        Section::new(
            "cluster",
            vec![
                vacant(facts),
                rivals(facts),
                injection(facts),
                gateway_api::line(facts, Expected::Perhaps),
            ],
        ),
    ]
}

/// The API server answers and is young enough.
pub(super) fn api(facts: &Facts) -> Section {
    let can = match &facts.version {
        Ok(version) => format!(
            "can query the API server ({})",
            text(version, "/gitVersion")
        ),
        Err(_) => "can query the API server".to_owned(),
    };
    let reached = Line::must(
        can,
        facts.version.as_ref().err().cloned().into_iter().collect(),
        "check --kubeconfig and --context; kubectl version asks the same",
    );
    let mut lines = vec![reached];
    if let Ok(version) = &facts.version {
        let digits: String = text(version, "/minor")
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let old = digits
            .parse::<u32>()
            .is_ok_and(|minor| minor < OLDEST_MINOR);
        let problem = old.then(|| format!("it is {}", text(version, "/gitVersion")));
        lines.push(Line::must(
            format!("is Kubernetes 1.{OLDEST_MINOR} or later"),
            problem.into_iter().collect(),
            "upgrade the cluster: older ones do not say on which node a pod's token is used",
        ));
    }
    Section::new("kubernetes-api", lines)
}

fn rights(facts: &Facts) -> Line {
    let what = "may create everything that an installation consists of";
    Line::about(what, &facts.rights, |rights| {
        let missing = rights.iter().filter(|(_, allowed)| !**allowed);
        Line::must(
            what,
            missing
                .map(|(right, _)| format!("may not {right}"))
                .collect(),
            "install as a cluster administrator",
        )
    })
}

fn nodes(facts: &Facts) -> Vec<Line> {
    let said = |what: &str, hint: &str, problem: fn(&Value) -> Option<String>, must: bool| {
        Line::about(what, &facts.nodes, |nodes| {
            let problems: Vec<String> = nodes
                .iter()
                .filter_map(|node| {
                    Some(format!(
                        "{}: {}",
                        text(node, "/metadata/name"),
                        problem(node)?
                    ))
                })
                .collect();
            match must {
                true => Line::must(what, problems, hint),
                false => Line::should(what, problems, hint),
            }
        })
    };
    vec![
        said(
            "all nodes are ready",
            "kubectl describe node",
            |node| (!is_true(node, "Ready")).then(|| "not ready".to_owned()),
            false,
        ),
        said(
            "all nodes run Linux",
            "pods on other nodes stay outside the mesh",
            |node| {
                let system = info(node, "operatingSystem");
                (system != "linux").then(|| system.to_owned())
            },
            false,
        ),
        said(
            "all processors are amd64 or arm64",
            "there are no images for others",
            |node| {
                let processor = info(node, "architecture");
                (!PROCESSORS.contains(&processor)).then(|| processor.to_owned())
            },
            true,
        ),
        said(
            "all kernels are Linux 5.4 or later",
            "upgrade the node's system: capture needs network namespaces, transparent sockets and packet marks",
            |node| old_kernel(info(node, "kernelVersion")),
            true,
        ),
        said(
            "all nodes run containerd or CRI-O",
            "Weft joins the network by CNI; a runtime that does not use /etc/cni/net.d needs --cni-conf-dir and --cni-bin-dir",
            |node| {
                let runtime = info(node, "containerRuntimeVersion");
                let known = ["containerd://", "cri-o://"];
                (!known.iter().any(|name| runtime.starts_with(name))).then(|| runtime.to_owned())
            },
            false,
        ),
    ]
}

fn info<'a>(node: &'a Value, field: &str) -> &'a str {
    text(node, &format!("/status/nodeInfo/{field}"))
}

/// The version, if it is one and too old.
fn old_kernel(version: &str) -> Option<String> {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>().ok());
    let found = (numbers.next()??, numbers.next()??);
    (found < OLDEST_KERNEL).then(|| format!("Linux {version}"))
}

fn vacant(facts: &Facts) -> Line {
    let what = "Weft is not installed yet";
    Line::about(what, &facts.workloads, |workloads| {
        let there = workloads
            .keys()
            .map(|name| format!("{NAMESPACE} has {name}"));
        Line::should(
            what,
            there.collect(),
            "weft install brings it to this version; weft check says how it is",
        )
    })
}

fn rivals(facts: &Facts) -> Line {
    let what = "no other mesh captures the pods' traffic";
    Line::about(what, &facts.daemons, |daemons| {
        let found = daemons.iter().filter_map(|daemon| {
            let (name, namespace) = (
                text(daemon, "/metadata/name"),
                text(daemon, "/metadata/namespace"),
            );
            let (_, mesh) = RIVALS.iter().find(|(rival, _)| *rival == name)?;
            Some(format!("{mesh}: daemonset {namespace}/{name}"))
        });
        Line::should(
            what,
            found.collect(),
            "let no namespace be in both: two meshes cannot capture one pod",
        )
    })
}

/// Namespaces that are in two meshes.
pub(super) fn injection(facts: &Facts) -> Line {
    let what = "no namespace of the mesh has another mesh's sidecars";
    Line::about(what, &facts.namespaces, |namespaces| {
        let ours = namespaces.iter().filter(|namespace| is_enrolled(namespace));
        let both = ours.filter_map(|namespace| {
            let (_, _, mesh) = INJECTION
                .iter()
                .find(|(place, value, _)| text(namespace, place) == *value)?;
            Some(format!("{}: {mesh}", text(namespace, "/metadata/name")))
        });
        Line::must(
            what,
            both.collect(),
            "take one of the two labels off the namespace and restart its pods",
        )
    })
}

/// Whether a namespace's label puts its pods into the mesh.
pub(super) fn is_enrolled(namespace: &Value) -> bool {
    text(namespace, "/metadata/labels/weft.mesh~1mode") == "enabled"
}

/// Nodes that agents and proxies run on.
pub(super) fn eligible(nodes: &[Value]) -> impl Iterator<Item = &Value> {
    nodes
        .iter()
        .filter(|node| text(node, "/metadata/labels/kubernetes.io~1os") == "linux")
        .filter(|node| {
            list(node, "/spec/taints")
                .iter()
                .all(|taint| !is_virtual(taint))
        })
}

/// Nodes without a kernel of their own, where no DaemonSet can run.
fn is_virtual(taint: &Value) -> bool {
    text(taint, "/key") == "virtual-kubelet.io/provider"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(old_kernel("6.18.5-cloud"), None);
        assert_eq!(old_kernel("5.4.0"), None);
        assert_eq!(old_kernel("5.15"), None);
        assert_eq!(old_kernel("4.19.0-1").unwrap(), "Linux 4.19.0-1");
        assert_eq!(
            old_kernel("unknown"),
            None,
            "what cannot be read is not judged"
        );
    }
}
