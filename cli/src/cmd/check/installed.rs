//! Whether Weft is well: its definitions, the operator, agent and proxy on every node, pods that should be captured, and
//! policies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weft_k8s::Kind;

use super::facts::Facts;
use super::gateway_api::{self, Expected};
use super::pre::{self, eligible, is_enrolled};
use super::report::{Line, Section};
use crate::cluster::operator::{CapturePage, NodesPage};
use crate::cluster::{is_true, list, number, rollout, text};
use crate::manifests;

pub(super) fn sections(facts: &Facts) -> Vec<Section> {
    let mut nodes = vec![everywhere(facts, "agent"), everywhere(facts, "proxy")];
    nodes.extend([versions(facts), synced(facts)]);
    vec![
        pre::api(facts),
        Section::new(
            "weft-definitions",
            vec![
                definitions(facts),
                gateway_api::line(facts, Expected::There),
            ],
        ),
        Section::new("weft-operator", vec![operator(facts), leader(facts)]),
        Section::new("weft-nodes", nodes),
        Section::new(
            "weft-data-plane",
            vec![enrolled(facts), captured(facts), pre::injection(facts)],
        ),
        Section::new("weft-policies", vec![accepted(facts), programmed(facts)]),
    ]
}

fn definitions(facts: &Facts) -> Line {
    let what = "the kinds of policies are defined";
    Line::about(what, &facts.definitions, |there| {
        let there: BTreeMap<&str, &Value> = there
            .iter()
            .map(|found| (text(found, "/metadata/name"), found))
            .collect();
        let wanted = manifests::definitions().unwrap_or_default();
        let problems = wanted.iter().filter_map(|wanted| {
            let name = text(wanted, "/metadata/name");
            match there.get(name) {
                None => Some(format!("{name} is not there")),
                Some(found) if !is_true(found, "Established") => {
                    Some(format!("{name} is not established"))
                }
                Some(_) => None,
            }
        });
        Line::must(
            what,
            problems.collect(),
            "weft install, or kubectl apply --server-side -f crds.yaml",
        )
    })
}

fn operator(facts: &Facts) -> Line {
    let what = "the operator runs";
    Line::about(what, &facts.workloads, |workloads| {
        let mut problems = Vec::new();
        match workloads.get("weft-operator") {
            None => problems.push("it is not installed".to_owned()),
            Some(deployment) => {
                let now = rollout::progress(deployment);
                if !now.done {
                    problems.push(now.text);
                    problems.extend(troubles(facts, "weft-operator", |_| true));
                }
            }
        }
        let hint = match problems
            .first()
            .is_some_and(|text| text.contains("installed"))
        {
            true => "weft install",
            false => "kubectl -n weft-system describe pods -l app.kubernetes.io/name=weft-operator",
        };
        Line::must(what, problems, hint)
    })
}

fn leader(facts: &Facts) -> Line {
    let what = "one of its replicas leads and answers";
    Line::about(what, &facts.connected, |_| Line::must(what, Vec::new(), ""))
}

/// Ready pods of an agent or proxy on every node that can have one.
fn everywhere(facts: &Facts, part: &str) -> Line {
    let (name, what) = (format!("weft-{part}"), format!("every node has its {part}"));
    let both = match (&facts.nodes, &facts.pods) {
        (Ok(nodes), Ok(pods)) => Ok((nodes, pods)),
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    Line::about(&what, &both, |(nodes, pods)| {
        let mut problems = Vec::new();
        for node in eligible(nodes) {
            let node_name = text(node, "/metadata/name");
            let mut here = of(pods, &name).filter(|pod| text(pod, "/spec/nodeName") == node_name);
            if here.clone().any(|pod| is_true(pod, "Ready")) {
                continue;
            }
            match here.next() {
                _ if !is_true(node, "Ready") => {
                    problems.push(format!("{node_name}: the node is not ready"))
                }
                None => problems.push(format!(
                    "{node_name}: there is none; pods of the mesh do not start there"
                )),
                Some(_) => problems.extend(troubles(facts, &name, |pod| {
                    text(pod, "/spec/nodeName") == node_name
                })),
            }
        }
        let hint = format!(
            "kubectl -n weft-system logs ds/{name}; kubectl -n weft-system describe ds/{name}"
        );
        Line::must(what.clone(), problems, &hint)
    })
}

fn of<'a>(pods: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> + Clone {
    pods.iter()
        .filter(move |pod| text(pod, "/metadata/labels/app.kubernetes.io~1name") == name)
}

/// What keeps pods of a part, with what the program itself says.
fn troubles(facts: &Facts, name: &str, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let pods = facts.pods.as_deref().unwrap_or_default();
    of(pods, name)
        .filter(|pod| wanted(pod))
        .filter_map(|pod| {
            let mut trouble = rollout::trouble(pod)?;
            let parts = facts.waiting.get(text(pod, "/metadata/name"));
            if let Some(waiting) = parts {
                for part in waiting.parts.split(", ") {
                    let said = match part {
                        "plugin" if !waiting.installation.is_empty() => &waiting.installation,
                        part => &meaning(part),
                    };
                    trouble.push_str("\n  ");
                    trouble.push_str(said);
                }
            }
            Some(trouble)
        })
        .collect()
}

/// What it means that a part of a program is not up.
fn meaning(part: &str) -> String {
    match part {
        "plugin" => "the node's network configuration does not run Weft's plugin: another installer removes it, there is \
                     no primary network yet, or --cni-conf-dir is not where the runtime looks"
            .to_owned(),
        "tables" => "it has no tables: the operator is not reached, or refuses its token".to_owned(),
        "manifests" => "it has not read all kinds from the API server yet".to_owned(),
        "released" => "it is leaving, and pods still have connections (weft uninstall)".to_owned(),
        part => format!("waiting for {part}"),
    }
}

fn versions(facts: &Facts) -> Line {
    let what = format!(
        "operator, agents and proxies have this program's version ({})",
        env!("CARGO_PKG_VERSION")
    );
    Line::about(&what, &facts.connected, |page| {
        let mut problems = BTreeSet::new();
        if !page.version.is_empty() && page.version != env!("CARGO_PKG_VERSION") {
            problems.insert(format!("operator: {}", page.version));
        }
        for row in page
            .nodes
            .iter()
            .filter(|row| row.version != env!("CARGO_PKG_VERSION"))
        {
            problems.insert(format!("{} of {}: {}", row.kind, row.node, row.version));
        }
        Line::should(
            what.clone(),
            problems.into_iter().collect(),
            "weft install upgrades what is older; else use the weft of that version",
        )
    })
}

fn synced(facts: &Facts) -> Line {
    let both = match (&facts.nodes, &facts.connected) {
        (Ok(nodes), Ok(page)) => Ok((nodes, page)),
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    let what = "every node runs the newest tables";
    Line::about(what, &both, |(nodes, page)| {
        let names = eligible(nodes).map(|node| text(node, "/metadata/name"));
        let problems = names.flat_map(|node| behind(page, node)).collect();
        let shown = format!("{what} (generation {})", page.generation);
        Line::must(
            shown,
            problems,
            "weft proxy-status; nodes that are not connected keep their last tables",
        )
    })
}

fn behind(page: &NodesPage, node: &str) -> Vec<String> {
    let problem = |kind: &str| {
        let mut rows = page
            .nodes
            .iter()
            .filter(|row| row.node == node && row.kind == kind)
            .peekable();
        if rows.peek().is_none() {
            return Some(format!(
                "{node}: its {kind} is not connected to the operator"
            ));
        }
        let row = rows.find(|row| row.acked < page.generation)?;
        let why = match &row.last_nack {
            Some(nack) => format!("refuses the next: {}", nack.reason),
            None => "is being brought up to date".to_owned(),
        };
        Some(format!(
            "{node}: its {kind} runs generation {} and {why}",
            row.acked
        ))
    };
    ["agent", "proxy"].into_iter().filter_map(problem).collect()
}

fn enrolled(facts: &Facts) -> Line {
    let what = "namespaces are in the mesh";
    Line::about(what, &facts.namespaces, |namespaces| {
        let count = namespaces
            .iter()
            .filter(|namespace| is_enrolled(namespace))
            .count();
        let problems = match count {
            0 => vec!["none is labelled".to_owned()],
            _ => Vec::new(),
        };
        let shown = match count {
            0 => what.to_owned(),
            1 => "1 namespace is in the mesh".to_owned(),
            count => format!("{count} {what}"),
        };
        Line::should(
            shown,
            problems,
            "kubectl label namespace NAME weft.mesh/mode=enabled",
        )
    })
}

/// Pods that their namespace puts into the mesh and that are not in it.
fn captured(facts: &Facts) -> Line {
    let what = "every pod of these namespaces is captured";
    Line::about(what, &facts.uncaptured, |page: &CapturePage| {
        let words = page
            .pods
            .iter()
            .map(|pod| format!("{}: {}", pod.pod, pod.message))
            .collect();
        let hint = "kubectl describe pod shows the same as an event";
        match page.pods.iter().any(|pod| pod.unexpected) {
            true => Line::must(what, words, hint),
            false => Line::should(what, words, hint),
        }
    })
}

fn accepted(facts: &Facts) -> Line {
    let what = "every policy is accepted";
    Line::about(what, &facts.policies, |policies| {
        Line::should(
            what,
            refused(policies, "Accepted"),
            "correct the object; weft analyze says the same before it is applied",
        )
    })
}

fn programmed(facts: &Facts) -> Line {
    let what = "every policy is in force on all nodes";
    Line::about(what, &facts.policies, |policies| {
        Line::should(
            what,
            refused(policies, "Programmed"),
            "weft wait KIND/NAME; weft proxy-status",
        )
    })
}

/// Policies of which a condition is false, or not about their newest version.
fn refused(policies: &[(Kind, Value)], condition: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, object) in policies {
        let parents = list(object, "/status/parents").iter();
        let places =
            parents.filter(|parent| text(parent, "/controllerName") == "weft.mesh/operator");
        let places = places.chain(object.pointer("/status"));
        let said = places.flat_map(|place| list(place, "/conditions"));
        let generation = number(object, "/metadata/generation");
        let wrong = said
            .filter(|said| text(said, "/type") == condition)
            .find(|said| {
                text(said, "/status") != "True" || number(said, "/observedGeneration") < generation
            });
        if let Some(said) = wrong {
            let (namespace, name) = (
                text(object, "/metadata/namespace"),
                text(object, "/metadata/name"),
            );
            problems.push(format!(
                "{kind} {namespace}/{name}: {}",
                text(said, "/message")
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
