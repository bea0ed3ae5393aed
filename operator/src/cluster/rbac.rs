//! The permissions that the operator needs, derived from the registry of kinds: what is not read there is not asked for.
//! `weft-operator rbac` prints them; the chart carries the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use weft_k8s::Kind;

/// Lease of the leader election.
pub const LEASE: &str = "weft-operator";

/// Manifests for an operator that runs as `account` in `namespace`.
#[must_use]
pub fn manifests(namespace: &str, account: &str) -> String {
    let mut text = String::from(
        "# Made by `weft-operator rbac` from the kinds that the operator reads; do not edit.\n",
    );
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: weft-operator\nrules:\n"
    );
    for (group, kinds) in by_group(|_| true) {
        rule(
            &mut text,
            group,
            &plurals(&kinds, ""),
            &["get", "list", "watch"],
        );
    }
    for (group, kinds) in by_group(Kind::gets_conditions) {
        rule(&mut text, group, &plurals(&kinds, "/status"), &["patch"]);
    }
    rule(
        &mut text,
        "authentication.k8s.io",
        &["tokenreviews".to_owned()],
        &["create"],
    );
    // Events stand in the namespace of the pod that they are about.
    rule(
        &mut text,
        "events.k8s.io",
        &["events".to_owned()],
        &["create"],
    );
    binding(
        &mut text,
        "ClusterRoleBinding",
        "",
        "ClusterRole",
        (namespace, account),
    );
    let own = format!("  namespace: {namespace}\n");
    let _ = write!(
        text,
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: weft-operator\n{own}rules:\n"
    );
    let leases = ["leases".to_owned()];
    // A create cannot be limited to a name.
    rule(&mut text, "coordination.k8s.io", &leases, &["create"]);
    rule(
        &mut text,
        "coordination.k8s.io",
        &leases,
        &["get", "update"],
    );
    let _ = writeln!(text, "    resourceNames: [{LEASE}]");
    binding(&mut text, "RoleBinding", &own, "Role", (namespace, account));
    text
}

fn by_group(wanted: impl Fn(Kind) -> bool) -> BTreeMap<&'static str, Vec<Kind>> {
    let mut groups: BTreeMap<&str, Vec<Kind>> = BTreeMap::new();
    for kind in Kind::ALL.iter().filter(|kind| wanted(**kind)) {
        groups.entry(kind.group()).or_default().push(*kind);
    }
    groups
}

fn plurals(kinds: &[Kind], suffix: &str) -> Vec<String> {
    let words = kinds.iter();
    words
        .map(|kind| format!("{}{suffix}", kind.plural()))
        .collect()
}

fn rule(text: &mut String, group: &str, resources: &[String], verbs: &[&str]) {
    let group = if group.is_empty() { "\"\"" } else { group };
    let _ = write!(
        text,
        "  - apiGroups: [{group}]\n    resources: [{}]\n    verbs: [{}]\n",
        resources.join(", "),
        verbs.join(", ")
    );
}

fn binding(
    text: &mut String,
    kind: &str,
    own: &str,
    role: &str,
    (namespace, account): (&str, &str),
) {
    let _ = write!(
        text,
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: weft-operator\n{own}\
         roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {role}\n  name: weft-operator\n\
         subjects:\n  - kind: ServiceAccount\n    name: {account}\n    namespace: {namespace}\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_policy_status_events_and_the_lease_can_be_written() {
        let text = manifests("weft-system", "weft-operator");
        let reads = "verbs: [get, list, watch]";
        let rules = text.split("  - apiGroups: ").skip(1);
        for rule in rules.filter(|rule| !rule.contains(reads)) {
            let resources = rule
                .split_once("resources: [")
                .and_then(|(_, rest)| rest.split_once(']'));
            let (resources, _) = resources.unwrap();
            for resource in resources.split(", ") {
                let allowed = resource.ends_with("/status")
                    || ["tokenreviews", "leases", "events"].contains(&resource);
                assert!(allowed, "{rule}");
            }
        }
        assert!(!text.contains("secrets") && !text.contains('*'));
        for kind in Kind::ALL {
            assert!(text.contains(&kind.plural()), "{kind} is not readable");
        }
    }
}
