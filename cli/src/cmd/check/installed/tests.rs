use serde_json::json;

use super::*;
use crate::cluster::operator::{NodeRow, UncapturedPod};
use crate::cmd::check::facts::Waiting;
use crate::cmd::check::report::{Report, Verdict};

fn node(name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn pod(part: &str, node: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": format!("weft-{part}-{node}"), "labels": {"app.kubernetes.io/name": format!("weft-{part}")}},
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn row(node: &str, kind: &str, acked: u64) -> NodeRow {
    NodeRow {
        node: node.to_owned(),
        kind: kind.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        acked,
        ..NodeRow::default()
    }
}

/// A healthy installation on two nodes.
fn healthy() -> Facts {
    let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
    let definitions = [
        manifests::definitions().unwrap(),
        manifests::gateway_api().unwrap(),
    ]
    .concat();
    let is_definition = |object: &Value| text(object, "/kind") == "CustomResourceDefinition";
    let with_status = definitions
        .into_iter()
        .filter(is_definition)
        .map(|mut definition| {
            definition["status"] = established.clone();
            definition
        });
    let operator = json!({"metadata": {}, "spec": {"replicas": 2}, "status": {
        "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
    }});
    let (mut nodes, mut pods, mut connected) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["a", "b"] {
        nodes.push(node(name, "True"));
        for part in ["agent", "proxy"] {
            pods.push(pod(part, name, "True"));
            connected.push(row(name, part, 7));
        }
    }
    Facts {
        version: Ok(json!({"gitVersion": "v1.34.4", "minor": "34+"})),
        nodes: Ok(nodes),
        namespaces: Ok(vec![
            json!({"metadata": {"name": "shop", "labels": {"weft.mesh/mode": "enabled"}}}),
        ]),
        daemons: Ok(Vec::new()),
        definitions: Ok(with_status.collect()),
        workloads: Ok([("weft-operator", operator)].into()),
        pods: Ok(pods),
        waiting: BTreeMap::new(),
        connected: Ok(NodesPage {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: 7,
            nodes: connected,
        }),
        uncaptured: Ok(CapturePage::default()),
        policies: Ok(Vec::new()),
        rights: Ok(BTreeMap::new()),
    }
}

fn is_gateway_api(definition: &Value) -> bool {
    text(definition, "/metadata/name").ends_with(".gateway.networking.k8s.io")
}

/// One of its definitions is of another channel or version.
fn mark_gateway_api(facts: &mut Facts, channel: &str, version: &str) {
    let all = facts.definitions.as_mut().unwrap().iter_mut();
    let found = all.rev().find(|found| is_gateway_api(found)).unwrap();
    let annotations = &mut found["metadata"]["annotations"];
    annotations["gateway.networking.k8s.io/channel"] = json!(channel);
    annotations["gateway.networking.k8s.io/bundle-version"] = json!(version);
}

fn text_of(facts: &Facts) -> String {
    Report::new(sections(facts)).text()
}

#[test]
fn a_healthy_mesh_has_no_other_sign_than_good() {
    let text = text_of(&healthy());
    assert!(!text.contains('×') && !text.contains('‼'), "{text}");
    assert!(
        text.contains("√ every node runs the newest tables (generation 7)\n"),
        "{text}"
    );
    assert!(text.ends_with("Status check results are √\n"), "{text}");
}

#[test]
fn every_fault_is_named_with_what_to_do() {
    type Fault = fn(&mut Facts);
    let faults: [(Fault, &str); 13] = [
        (
            |facts| {
                facts
                    .pods
                    .as_mut()
                    .unwrap()
                    .retain(|pod| text(pod, "/metadata/name") != "weft-agent-b")
            },
            "× every node has its agent\n    b: there is none",
        ),
        (
            |facts| {
                facts.pods.as_mut().unwrap()[0] = pod("agent", "a", "False");
                let waiting = Waiting {
                    parts: "plugin, tables".to_owned(),
                    installation: "cilium renames it".to_owned(),
                };
                facts.waiting.insert("weft-agent-a".to_owned(), waiting);
            },
            "× every node has its agent\n    pod weft-agent-a on a: runs, but is not ready\n      cilium renames it\n      it has no tables",
        ),
        (
            |facts| facts.nodes.as_mut().unwrap().push(node("c", "False")),
            "    c: the node is not ready\n",
        ),
        (
            |facts| facts.connected = Err("no operator leads".to_owned()),
            "× one of its replicas leads and answers\n    no operator leads\n",
        ),
        (
            |facts| facts.connected.as_mut().unwrap().nodes[1].acked = 5,
            "    a: its proxy runs generation 5 and is being brought up to date\n",
        ),
        (
            |facts| facts.connected.as_mut().unwrap().nodes[1].version = "0.0.1".to_owned(),
            "‼ operator, agents and proxies have this program's version",
        ),
        (
            |facts| facts.definitions.as_mut().unwrap().clear(),
            "    virtualservices.networking.istio.io is not there\n",
        ),
        (
            |facts| {
                facts
                    .definitions
                    .as_mut()
                    .unwrap()
                    .retain(|found| !is_gateway_api(found))
            },
            "‼ the Gateway API is defined\n    it is not: there are no HTTPRoutes\n",
        ),
        (
            |facts| mark_gateway_api(facts, "experimental", "v1.6.3"),
            "(v1.6.3, experimental and standard channel)\n    definitions of different channels are mixed\n",
        ),
        (
            |facts| mark_gateway_api(facts, "standard", "v1.0.0"),
            "    definitions of different versions are mixed\n    v1.0.0 is too old: routes of Services came with v1.1\n",
        ),
        (
            |facts| {
                facts
                    .definitions
                    .as_mut()
                    .unwrap()
                    .retain(|found| !text(found, "/metadata/name").starts_with("httproutes."))
            },
            "(v1.6.3, standard channel)\n    httproutes.gateway.networking.k8s.io is not there\n",
        ),
        (
            |facts| facts.workloads.as_mut().unwrap().clear(),
            "    it is not installed\n    → weft install\n",
        ),
        (
            |facts| facts.namespaces = Ok(Vec::new()),
            "‼ namespaces are in the mesh\n    none is labelled\n    → kubectl label namespace",
        ),
    ];
    for (fault, expected) in faults {
        let mut facts = healthy();
        fault(&mut facts);
        let text = text_of(&facts);
        assert!(text.contains(expected), "expected {expected:?} in:\n{text}");
    }
}

#[test]
fn a_pod_that_nobody_wanted_outside_fails_the_check() {
    let mut facts = healthy();
    let pod = |unexpected| UncapturedPod {
        pod: "shop/web-1".to_owned(),
        message: "on the node's network".to_owned(),
        unexpected,
    };
    let mut line = |unexpected| {
        facts.uncaptured = Ok(CapturePage {
            pods: vec![pod(unexpected)],
        });
        captured(&facts)
    };
    assert_eq!(line(false).verdict(), Verdict::Warning);
    assert_eq!(line(true).verdict(), Verdict::Bad);
    assert!(text_of(&facts).contains("    shop/web-1: on the node's network\n"));
}

#[test]
fn policies_are_quoted() {
    let said = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "message": message});
    let mut facts = healthy();
    let service = json!({"metadata": {"namespace": "shop", "name": "web"}, "status": {"conditions": [
        said("Accepted", "False", "there is no Service wbe"), said("Programmed", "True", "fine"),
    ]}});
    let route = json!({"metadata": {"namespace": "shop", "name": "r"}, "status": {"parents": [
        {"controllerName": "example.com/edge", "conditions": [said("Accepted", "False", "theirs")]},
        {"controllerName": "weft.mesh/operator", "conditions": [said("Accepted", "True", ""), said("Programmed", "False", "on 1/2 nodes")]},
    ]}});
    facts.policies = Ok(vec![
        (Kind::VirtualService, service),
        (Kind::HTTPRoute, route),
    ]);
    let text = text_of(&facts);
    assert!(
        text.contains("    VirtualService shop/web: there is no Service wbe\n"),
        "{text}"
    );
    assert!(
        text.contains("    HTTPRoute shop/r: on 1/2 nodes\n"),
        "{text}"
    );
    assert!(!text.contains("theirs"), "{text}");
}
