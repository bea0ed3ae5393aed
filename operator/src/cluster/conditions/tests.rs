use std::sync::Arc;

use serde_json::json;
use weft_compile::Settings;
use weft_k8s::{Kind, Name, Snapshot, parse_object};

use super::*;
use crate::source::Manifests;
use crate::status::NackStatus;

const NOW: &str = "2026-11-21T12:00:00Z";

fn route(generation: i64, host: &str) -> serde_json::Value {
    json!({
        "metadata": {"name": "reviews", "namespace": "shop", "uid": "u", "generation": generation},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": host}}]}]},
    })
}

fn service() -> serde_json::Value {
    json!({
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80, "name": "http"}]},
    })
}

fn of() -> Reference {
    Reference {
        kind: Kind::VirtualService,
        name: Name::new("shop", "reviews"),
    }
}

fn published(generation: u64, route: &serde_json::Value) -> Published {
    let mut manifests = Manifests::default();
    let objects = [(Kind::Service, &service()), (Kind::VirtualService, route)]
        .map(|(kind, object)| parse_object(kind, object));
    let mut good = Vec::new();
    for object in objects {
        match object {
            Ok(object) => good.push(object),
            Err(error) => manifests.errors.push(error),
        }
    }
    manifests.snapshot = Snapshot::from_objects(good);
    let mut compiled = weft_compile::compile(&manifests.snapshot, &Settings::default());
    let mut findings = std::mem::take(&mut compiled.diagnostics);
    findings.extend(manifests.errors.iter().map(Diagnostic::from));
    Published::default()
        .next(generation, compiled, findings)
        .made_of(Arc::new(manifests))
}

fn carried(generation: i64, conditions: Vec<Condition>) -> BTreeMap<Reference, Observed> {
    let observed = Observed {
        version: "v1".to_owned(),
        uid: "u".to_owned(),
        generation,
        conditions,
        ..Observed::default()
    };
    [(of(), observed)].into()
}

fn node(name: &str, acked: u64) -> NodeStatus {
    NodeStatus {
        node: name.to_owned(),
        kind: "proxy",
        version: String::new(),
        sent: acked,
        acked,
        number: acked,
        last_nack: None,
        acked_since: std::time::Instant::now(),
        troubles: Vec::new(),
    }
}

fn conditions(wanted: &Wanted) -> &[Condition] {
    match &wanted.status {
        Status::Conditions(all) => all,
        other => panic!("{other:?}"),
    }
}

fn texts(wanted: &[Wanted]) -> Vec<String> {
    let conditions = wanted.iter().flat_map(conditions);
    conditions
        .map(|said| {
            format!(
                "{}={} {}: {}",
                said.kind, said.status, said.reason, said.message
            )
        })
        .collect()
}

#[test]
fn a_policy_is_accepted_then_programmed_and_then_left_alone() {
    let mut ledger = Ledger::default();
    let published = published(7, &route(3, "reviews"));
    let before = carried(3, Vec::new());
    ledger.note(&published, &before);
    let (wanted, waiting) = ledger.wanted(&published, &before, &[node("a", 7), node("b", 6)], NOW);
    assert!(waiting);
    assert_eq!(
        texts(&wanted)[1],
        "Programmed=False Pending: generation 7 on 1/2 nodes; waiting for node b"
    );
    let (wanted, waiting) = ledger.wanted(&published, &before, &[node("a", 7), node("b", 8)], NOW);
    assert!(!waiting);
    assert_eq!(
        texts(&wanted),
        [
            "Accepted=True Accepted: accepted",
            "Programmed=True Programmed: generation 7 on 2/2 nodes"
        ]
    );
    assert_eq!(conditions(&wanted[0])[0].observed_generation, 3);
    let after = carried(3, conditions(&wanted[0]).to_vec());
    for nodes in [
        vec![node("a", 7), node("b", 7), node("c", 0)],
        vec![],
        vec![node("b", 9)],
    ] {
        let (wanted, _) = ledger.wanted(&published, &after, &nodes, "later");
        assert!(wanted.is_empty(), "a receipt stays: {wanted:?}");
    }
}

#[test]
fn a_new_spec_asks_for_a_new_receipt_and_keeps_the_time_of_what_did_not_change() {
    let mut ledger = Ledger::default();
    let first = published(7, &route(3, "reviews"));
    ledger.note(&first, &carried(3, Vec::new()));
    let nodes = [node("a", 7)];
    let (wanted, _) = ledger.wanted(&first, &carried(3, Vec::new()), &nodes, NOW);
    let written = carried(4, conditions(&wanted[0]).to_vec());
    let (wanted, waiting) = ledger.wanted(&first, &written, &nodes, "later");
    assert!(
        wanted.is_empty() && waiting,
        "spec 4 has not been compiled: {wanted:?}"
    );
    let second = published(8, &route(4, "reviews"));
    ledger.note(&second, &written);
    let (wanted, _) = ledger.wanted(&second, &written, &nodes, "later");
    let [accepted, programmed] = conditions(&wanted[0]) else {
        panic!("{wanted:?}");
    };
    assert_eq!(
        (
            accepted.observed_generation,
            accepted.last_transition_time.as_str()
        ),
        (4, NOW)
    );
    assert_eq!(
        (
            programmed.reason.as_str(),
            programmed.last_transition_time.as_str()
        ),
        ("Pending", "later")
    );
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let mut ledger = Ledger::default();
    let published = published(7, &route(3, "nobody"));
    let before = carried(3, Vec::new());
    ledger.note(&published, &before);
    let (wanted, _) = ledger.wanted(&published, &before, &[node("a", 7)], NOW);
    let text = texts(&wanted).swap_remove(0);
    assert!(text.starts_with("Accepted=False Invalid: [WFT"), "{text}");
    assert!(text.contains("spec.http[0].route[0].destination"), "{text}");
}

#[test]
fn an_unreadable_object_is_refused_and_a_refusing_node_is_quoted() {
    let mut ledger = Ledger::default();
    let broken = published(
        7,
        &json!({"metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"hosts": 7}}),
    );
    let before = carried(3, Vec::new());
    ledger.note(&broken, &before);
    let (wanted, _) = ledger.wanted(&broken, &before, &[node("a", 7)], NOW);
    assert!(
        conditions(&wanted[0])
            .iter()
            .all(|said| said.status == "False"),
        "{wanted:?}"
    );

    let published = published(8, &route(3, "reviews"));
    ledger.note(&published, &before);
    let mut refusing = node("a", 7);
    refusing.last_nack = Some(NackStatus {
        generation: 8,
        reason: "no memory".to_owned(),
    });
    let (wanted, _) = ledger.wanted(&published, &before, &[refusing], NOW);
    assert_eq!(
        texts(&wanted)[1],
        "Programmed=False Refused: generation 8 on 0/1 nodes; node a refuses it: no memory"
    );
}

/// Generation 7 of these objects.
fn published_of(objects: &[(Kind, serde_json::Value)]) -> Published {
    let mut manifests = Manifests::default();
    let objects = objects
        .iter()
        .map(|(kind, object)| parse_object(*kind, object).unwrap());
    manifests.snapshot = Snapshot::from_objects(objects);
    let mut compiled = weft_compile::compile(&manifests.snapshot, &Settings::default());
    let findings = std::mem::take(&mut compiled.diagnostics);
    Published::default()
        .next(7, compiled, findings)
        .made_of(Arc::new(manifests))
}

/// What is wanted of the one object that there is, with one node that has everything.
fn wanted_of(published: &Published, of: &Reference, observed: &Observed) -> Vec<Wanted> {
    let carried = [(of.clone(), observed.clone())].into();
    let mut ledger = Ledger::default();
    ledger.note(published, &carried);
    ledger.wanted(published, &carried, &[node("a", 7)], NOW).0
}

#[test]
fn a_grpc_route_is_told_that_it_has_no_effect() {
    let route = json!({
        "metadata": {"name": "reviews", "namespace": "shop", "uid": "u", "generation": 3},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
            "rules": [{"backendRefs": [{"name": "reviews", "port": 80}]}],
        },
    });
    let published = published_of(&[(Kind::Service, service()), (Kind::GRPCRoute, route)]);
    let of = Reference {
        kind: Kind::GRPCRoute,
        ..of()
    };
    let observed = carried(3, Vec::new()).remove(&self::of()).unwrap();
    let wanted = wanted_of(&published, &of, &observed);
    let Status::Parents(parents) = &wanted[0].status else {
        panic!("{wanted:?}");
    };
    let all = parents[0]["conditions"].as_array().unwrap().iter();
    let said: Vec<_> = all
        .map(|said| {
            format!("{}={} {}", said["type"], said["status"], said["reason"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        said,
        [
            "Accepted=False UnsupportedValue",
            "ResolvedRefs=True ResolvedRefs",
            "Programmed=False NotEnforced"
        ]
    );
    let message = parents[0]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("not enforced yet"), "{message}");
}

#[test]
fn a_mesh_of_ours_says_what_it_can_do_and_another_is_left_alone() {
    let mesh = |controller: &str, parameters: serde_json::Value| {
        json!({
            "metadata": {"name": "weft", "uid": "u", "generation": 3},
            "spec": {"controllerName": controller, "parametersRef": parameters},
        })
    };
    let of = Reference {
        kind: Kind::XMesh,
        name: Name::new("", "weft"),
    };
    let observed = carried(3, Vec::new()).remove(&self::of()).unwrap();
    let ours = published_of(&[(Kind::XMesh, mesh("weft.mesh/operator", json!(null)))]);
    let wanted = wanted_of(&ours, &of, &observed);
    let Status::Mesh(conditions, features) = &wanted[0].status else {
        panic!("{wanted:?}");
    };
    let said: Vec<_> = conditions
        .iter()
        .map(|said| format!("{}={} {}", said.kind, said.status, said.reason))
        .collect();
    assert_eq!(
        said,
        ["Accepted=True Accepted", "Programmed=True Programmed"]
    );
    assert!(features.contains(&json!({"name": "MeshConsumerRoute"})));
    let written = Observed {
        conditions: conditions.clone(),
        features: features.clone(),
        ..observed.clone()
    };
    assert!(wanted_of(&ours, &of, &written).is_empty(), "said once");

    let settings = json!({"group": "", "kind": "ConfigMap", "name": "a"});
    let odd = published_of(&[(Kind::XMesh, mesh("weft.mesh/operator", settings))]);
    let Status::Mesh(conditions, _) = &wanted_of(&odd, &of, &observed)[0].status else {
        panic!("no status of a mesh");
    };
    assert_eq!(conditions[0].reason, "InvalidParameters");
    let theirs = published_of(&[(Kind::XMesh, mesh("example.com/mesh", json!(null)))]);
    assert!(wanted_of(&theirs, &of, &observed).is_empty());
}

#[test]
fn a_route_is_told_for_each_parent_and_other_controllers_keep_their_word() {
    let route = json!({
        "metadata": {"name": "reviews", "namespace": "shop", "uid": "u", "generation": 3},
        "spec": {
            "parentRefs": [
                {"group": "", "kind": "Service", "name": "reviews"},
                {"group": "", "kind": "Service", "name": "nobody"},
                {"name": "gateway"},
            ],
            "rules": [{"backendRefs": [{"name": "reviews", "port": 80}, {"name": "gone", "port": 80}]}],
        },
    });
    let published = published_of(&[(Kind::Service, service()), (Kind::HTTPRoute, route)]);
    let of = Reference {
        kind: Kind::HTTPRoute,
        ..of()
    };
    let other = json!({"parentRef": {"name": "gateway"}, "controllerName": "example.com/gateway", "conditions": []});
    let observed = Observed {
        version: "v1".to_owned(),
        uid: "u".to_owned(),
        generation: 3,
        parents: vec![other.clone()],
        ..Observed::default()
    };
    let mut carried: BTreeMap<_, _> = [(of.clone(), observed.clone())].into();
    let mut ledger = Ledger::default();
    ledger.note(&published, &carried);
    let (wanted, _) = ledger.wanted(&published, &carried, &[node("a", 7)], NOW);
    let Status::Parents(parents) = &wanted[0].status else {
        panic!("{wanted:?}");
    };
    assert_eq!(parents[0], other);
    let said = |at: usize| {
        let all = parents[at]["conditions"].as_array().unwrap().iter();
        all.map(|said| {
            format!(
                "{}={}",
                said["type"].as_str().unwrap(),
                said["reason"].as_str().unwrap()
            )
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(
        said(1),
        [
            "Accepted=Accepted",
            "ResolvedRefs=BackendNotFound",
            "Programmed=Programmed"
        ]
    );
    assert_eq!(
        said(2),
        [
            "Accepted=NoMatchingParent",
            "ResolvedRefs=BackendNotFound",
            "Programmed=Programmed"
        ]
    );
    let written = Observed {
        parents: parents.clone(),
        ..observed
    };
    carried.insert(of, written);
    let (wanted, _) = ledger.wanted(&published, &carried, &[node("a", 9)], "later");
    assert!(wanted.is_empty(), "{wanted:?}");
}
