//! The list of who is in the mesh, from which the CNI plugin decides without the agent that a pod passes. The agent keeps it
//! in a file (`STATE/cni/namespaces`), which it writes whole on every change; a proxy gives the part of one namespace on
//! its admin socket, from tables that go on changing while the agent is away.
//!
//! One fact a line, words parted by one space:
//!
//! ```text
//! weft-mesh 1
//! namespace shop in
//! namespace tools out
//! pod shop web-1 0b6e… in
//! pod tools probe-1 77aa… out
//! end 4
//! ```
//!
//! A namespace is `in` when its label says so or any pod of it on this node is in the mesh, `out` when it exists and
//! neither is so. The last line counts the facts, so that a list that was cut short is seen to be so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use weft_model::pod::{LocalPod, Mode};

/// Path of the agent's list below the state directory.
pub const FILE: &str = "cni/namespaces";
/// First line of a list.
pub const HEAD: &str = "weft-mesh 1";
/// The page of a proxy's admin socket that gives a list; its query is the namespace, none means all.
pub const PAGE: &str = "/membership";

const ADMIN_PREFIX: &str = "proxy-";
const ADMIN_SUFFIX: &str = ".sock";

/// Name of a proxy's admin socket in the run directory; `number` is its own as long as it lives.
#[must_use]
pub fn admin_socket(number: u64) -> String {
    format!("{ADMIN_PREFIX}{number}{ADMIN_SUFFIX}")
}

/// Whether a file in the run directory is a proxy's admin socket, by its name.
#[must_use]
pub fn is_admin_socket(name: &str) -> bool {
    let number = name
        .strip_prefix(ADMIN_PREFIX)
        .and_then(|rest| rest.strip_suffix(ADMIN_SUFFIX));
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

/// The list of the node's tables: `namespaces` of the whole cluster with what their labels say, `pods` of this node. With
/// `only`, the part of one namespace.
#[must_use]
pub fn list(
    namespaces: &BTreeMap<String, bool>,
    pods: &BTreeMap<String, Arc<LocalPod>>,
    only: Option<&str>,
) -> String {
    // A name that would break a line is no name of Kubernetes; such a pod asks the agent.
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    let wanted = |name: &str| plain(name) && only.is_none_or(|only| only == name);
    // Namespaces without a pod here count too: the first pod of an unlabelled one starts while the agent is away.
    let known = namespaces.iter().filter(|(name, _)| wanted(name));
    let mut spaces: BTreeMap<&str, bool> = known
        .map(|(name, inside)| (name.as_str(), *inside))
        .collect();
    let mut lines = Vec::new();
    for pod in pods.values() {
        let (id, uid, inside) = (
            &pod.workload.pod,
            &pod.workload.uid,
            pod.mode == Mode::Enabled,
        );
        if !wanted(&id.namespace) || !plain(&id.name) || !plain(uid) {
            continue;
        }
        *spaces.entry(&id.namespace).or_default() |= inside;
        lines.push((&id.namespace, &id.name, uid, inside));
    }
    lines.sort_unstable();
    let word = |inside: bool| if inside { "in" } else { "out" };
    let mut text = format!("{HEAD}\n");
    // Writing to a string does not fail.
    for (namespace, inside) in &spaces {
        let _ = writeln!(text, "namespace {namespace} {}", word(*inside));
    }
    for (namespace, name, uid, inside) in &lines {
        let _ = writeln!(text, "pod {namespace} {name} {uid} {}", word(*inside));
    }
    let _ = writeln!(text, "end {}", spaces.len() + lines.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_alone_is_a_whole_list() {
        let namespaces = [("shop", true), ("tools", false)];
        let namespaces = namespaces.map(|(name, inside)| (name.to_owned(), inside));
        let of = |only| list(&namespaces.clone().into(), &BTreeMap::new(), only);
        assert_eq!(of(Some("shop")), "weft-mesh 1\nnamespace shop in\nend 1\n");
        assert_eq!(of(Some("elsewhere")), "weft-mesh 1\nend 0\n");
        assert!(of(None).ends_with("namespace tools out\nend 2\n"));
    }

    #[test]
    fn admin_sockets_are_told_by_their_names() {
        assert!(is_admin_socket(&admin_socket(4711)));
        for other in [
            "agent.sock",
            "proxy-.sock",
            "proxy-1.new-2",
            "proxy-1.sock.new",
        ] {
            assert!(!is_admin_socket(other), "{other}");
        }
    }
}
