//! The operator on a real API server: what a cluster's user sees when objects are made, broken, repaired and removed, when
//! the API server goes away, when kinds come later, and who is let in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use weft_model::table::Tables;
use weft_tables::NodeKind;

use crate::api_server::{ApiServer, NAMESPACE, condition};
use crate::mesh::{Client, WAIT, check, free_port, until, until_page};

const ISTIO: &str = "networking.istio.io/v1";

/// One replica of the operator, as the service account `weft-operator`.
struct Replica {
    grpc: SocketAddr,
    http: SocketAddr,
    _process: Child,
}

impl Replica {
    async fn start(server: &ApiServer, identity: &str) -> Self {
        let token = server.token("weft-operator", None, None).await;
        let kubeconfig = server.kubeconfig(identity, &token);
        let (grpc, http) = (free_port(), free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_weft-operator"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--identity", identity, "--listen", &grpc.to_string()])
            .args(["--metrics-listen", &http.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            grpc,
            http,
            _process: process,
        }
    }

    async fn until_ready(&self) {
        self.until("/healthz/ready", |answer| answer.contains(" 200 "))
            .await;
    }

    async fn until(&self, path: &str, holds: impl Fn(&str) -> bool) {
        until_page(self.http, path, holds).await;
    }
}

/// A cluster with two nodes, a labelled namespace, a service with one pod, and agent and proxy pods.
async fn shop(server: &ApiServer) {
    for node in ["node1", "node2"] {
        server
            .apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}))
            .await;
        for program in ["agent", "proxy"] {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{program}-{node}"), "namespace": NAMESPACE,
                    "labels": {"app.kubernetes.io/name": format!("weft-{program}")},
                },
                "spec": {"nodeName": node, "serviceAccountName": format!("weft-{program}"), "containers": [{"name": "c", "image": "i"}]},
            });
            server.apply(pod).await;
        }
    }
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"weft.mesh/mode": "enabled"}}})).await;
    server.apply(service("reviews")).await;
    server
        .apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "reviews-1", "namespace": "shop", "labels": {"app": "reviews"}},
            "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
        }))
        .await;
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]},
    })
}

fn route(host: &str, timeout: &str) -> Value {
    json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"hosts": ["reviews"], "http": [{"timeout": timeout, "route": [{"destination": {"host": host}}]}]},
    })
}

struct Node {
    client: Client,
    _state: tempfile::TempDir,
}

/// The proxy of a node, with its pod's token in a file, interested in all services.
async fn proxy(server: &ApiServer, replica: &Replica, node: &str) -> Node {
    let token = server
        .token("weft-proxy", Some("weft"), Some(&format!("proxy-{node}")))
        .await;
    let state = tempfile::tempdir().unwrap();
    let file = write_token(state.path(), &token);
    let client = Client::with_token(
        replica.grpc,
        node,
        NodeKind::Proxy,
        state.path(),
        Some(file),
    );
    let index = client
        .until(|state| !state.tables.index.services.is_empty())
        .await;
    for id in index.tables.index.services.values() {
        client.handle.want_service(*id);
    }
    Node {
        client,
        _state: state,
    }
}

fn write_token(dir: &Path, token: &str) -> PathBuf {
    let file = dir.join("token");
    std::fs::write(&file, token).unwrap();
    file
}

/// Timeouts of all rules in force.
fn timeouts(tables: &Tables) -> Vec<u64> {
    let policies = tables.policies.values();
    let rules = policies.flat_map(|policy| policy.default.http.iter().flatten());
    rules
        .filter_map(|rule| rule.timeout.map(|timeout| timeout.as_secs()))
        .collect()
}

#[tokio::test]
async fn the_mesh_follows_the_api_through_faults_and_late_definitions() {
    let mut server = ApiServer::start(false).await;
    shop(&server).await;
    let replica = Replica::start(&server, "one").await;
    replica.until_ready().await;
    let node = proxy(&server, &replica, "node1").await;
    let state = node
        .client
        .until(|state| state.tables.pods.len() == 3)
        .await;
    let pod = state
        .tables
        .pods
        .values()
        .find(|pod| pod.workload.pod.name == "reviews-1");
    assert!(
        pod.is_some_and(|pod| pod.workload.captured),
        "{:#?}",
        state.tables.pods
    );
    assert_eq!(state.tables.namespaces.get("shop"), Some(&true));
    assert_eq!(state.tables.namespaces.get(NAMESPACE), Some(&false));

    // Definitions that come later.
    server.define().await;
    server.apply(route("reviews", "3s")).await;
    node.client
        .until(|state| timeouts(&state.tables) == [3])
        .await;

    // What is broken keeps its last meaning and is named. The schema refuses it, so the guard is taken off first.
    let definitions = server.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
    let loose = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec", "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]);
    let patch: kube::api::Patch<Value> =
        kube::api::Patch::Json(serde_json::from_value(loose).unwrap());
    definitions
        .patch(
            "virtualservices.networking.istio.io",
            &Default::default(),
            &patch,
        )
        .await
        .unwrap();
    let api = server.api(ISTIO, "VirtualService", Some("shop"));
    let broken = kube::api::Patch::Merge(json!({"spec": {"hosts": "reviews"}}));
    until("the broken object is taken", async || {
        api.patch("reviews", &Default::default(), &broken).await
    })
    .await;
    replica
        .until("/debug/diagnostics", |answer| {
            answer.contains("\"shop/reviews\"") && answer.contains("spec.hosts")
        })
        .await;
    server
        .until_condition(("VirtualService", "reviews"), "Accepted", |said| {
            said["status"] == "False"
        })
        .await;
    assert_eq!(timeouts(&node.client.handle.current().tables), [3]);

    // An API server that dies and comes back; what has changed since counts.
    server.kill().await;
    server.resume().await;
    server.apply(route("reviews", "5s")).await;
    server.apply(service("ratings")).await;
    node.client
        .until(|state| timeouts(&state.tables) == [5] && state.tables.index.services.len() == 3)
        .await;

    server
        .delete(ISTIO, "VirtualService", "shop", "reviews")
        .await;
    node.client
        .until(|state| timeouts(&state.tables).is_empty())
        .await;
    server.apply(route("reviews", "7s")).await;
    node.client
        .until(|state| timeouts(&state.tables) == [7])
        .await;
    // The kind itself goes, and its objects with it.
    server
        .delete(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            "virtualservices.networking.istio.io",
        )
        .await;
    node.client
        .until(|state| timeouts(&state.tables).is_empty())
        .await;
    assert!(server.count("v1", "Service").await >= 2);
}

#[tokio::test]
async fn policies_are_told_what_became_of_them_by_one_leader() {
    let server = ApiServer::start(true).await;
    shop(&server).await;
    let first = Replica::start(&server, "first").await;
    first.until_ready().await;
    let _nodes = [
        proxy(&server, &first, "node1").await,
        proxy(&server, &first, "node2").await,
    ];

    server.apply(route("reviews", "3s")).await;
    let object = ("VirtualService", "reviews");
    let said = server
        .until_condition(object, "Programmed", |said| said["status"] == "True")
        .await;
    let message = said["message"].as_str().unwrap();
    assert!(
        message.starts_with("generation ") && message.ends_with(" on 2/2 nodes"),
        "{said}"
    );
    assert_eq!(said["observedGeneration"], 1);
    let accepted = server
        .until_condition(object, "Accepted", |said| said["status"] == "True")
        .await;
    assert_eq!(accepted["reason"], "Accepted");

    server.apply(route("nobody", "3s")).await;
    let said = server
        .until_condition(object, "Accepted", |said| said["status"] == "False")
        .await;
    assert_eq!(said["observedGeneration"], 2);
    assert!(
        said["message"]
            .as_str()
            .unwrap()
            .contains("spec.http[0].route[0].destination"),
        "{said}"
    );
    let rule = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"host": "reviews", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 3}}},
    });
    server.apply(rule).await;
    let said = server
        .until_condition(("DestinationRule", "reviews"), "Accepted", |_| true)
        .await;
    assert!(
        said["message"]
            .as_str()
            .unwrap()
            .contains("outlierDetection"),
        "a field that is not honoured is named: {said}"
    );
}

/// Generation and timeouts of all tables that the node has from now on, up to a route with this timeout.
fn witness(node: &Node, last: u64) -> tokio::task::JoinHandle<Vec<(u64, Vec<u64>)>> {
    let mut changed = node.client.handle.changed();
    tokio::spawn(async move {
        let mut states = Vec::new();
        loop {
            let state = changed.borrow_and_update().clone();
            let now = timeouts(&state.tables);
            states.push((state.generation, now.clone()));
            if now == [last] || changed.changed().await.is_err() {
                return states;
            }
        }
    })
}

/// Number in a receipt, and what it says of the nodes.
fn receipt(said: &Value) -> (u64, String) {
    let message = said["message"].as_str().unwrap();
    let words: Vec<&str> = message.splitn(3, ' ').collect();
    (words[1].parse().unwrap(), words[2].to_owned())
}

#[tokio::test]
async fn one_replica_serves_all_nodes_and_the_next_counts_on() {
    let server = ApiServer::start(true).await;
    shop(&server).await;
    let first = Replica::start(&server, "first").await;
    first.until_ready().await;
    let held = server.until_lease(|holder, _| holder == "first").await;
    assert_eq!(held["weft.mesh/address"], first.grpc.to_string());
    let second = Replica::start(&server, "second").await;
    second.until_ready().await;
    // Both nodes know the follower only; it sends them on.
    let nodes = [
        proxy(&server, &second, "node1").await,
        proxy(&server, &second, "node2").await,
    ];
    let object = ("VirtualService", "reviews");
    // A proxy that is ready counts before it is connected, so the receipt is never one of the quicker node alone.
    for node in ["node1", "node2"] {
        server.make_ready(&format!("proxy-{node}")).await;
    }
    server.apply(route("reviews", "3s")).await;
    let said = server
        .until_condition(object, "Programmed", |said| said["status"] == "True")
        .await;
    let (before, on) = receipt(&said);
    assert_eq!(on, "on 2/2 nodes");
    second
        .until("/debug/nodes", |answer| answer.contains("\"nodes\": []"))
        .await;
    server
        .until_lease(|_, annotations| {
            let last = annotations["weft.mesh/generation"].as_str();
            last.is_some_and(|last| last.parse::<u64>().unwrap() >= before)
        })
        .await;

    // kill -9: nothing is lost, whoever leads or does not.
    let seen: Vec<_> = nodes.iter().map(|node| witness(node, 4)).collect();
    drop(first);
    server.until_lease(|holder, _| holder == "second").await;
    server.apply(route("reviews", "4s")).await;
    for seen in seen {
        let states = tokio::time::timeout(WAIT, seen).await;
        let states = states.expect("the new route arrives").unwrap();
        assert!(states.is_sorted(), "no generation goes back: {states:?}");
        let lost = states.iter().find(|(_, timeouts)| timeouts.is_empty());
        assert!(lost.is_none(), "{states:?}");
    }
    let said = server
        .until_condition(object, "Programmed", |said| {
            said["status"] == "True" && said["observedGeneration"] == 2
        })
        .await;
    let (after, on) = receipt(&said);
    assert_eq!(on, "on 2/2 nodes");
    assert!(after > before, "{before} then {after}");
}

#[tokio::test]
async fn a_pod_that_is_not_captured_has_an_event() {
    let server = ApiServer::start(true).await;
    shop(&server).await;
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "host", "namespace": "shop"},
        "spec": {"nodeName": "node1", "hostNetwork": true, "containers": [{"name": "c", "image": "i"}]},
    });
    server.apply(pod.clone()).await;
    let replica = Replica::start(&server, "one").await;
    replica.until_ready().await;
    let token = server
        .token("weft-agent", Some("weft"), Some("agent-node1"))
        .await;
    let state = tempfile::tempdir().unwrap();
    let file = write_token(state.path(), &token);
    let agent = Client::with_token(
        replica.grpc,
        "node1",
        NodeKind::Agent,
        state.path(),
        Some(file),
    );
    let tables = agent.until(|state| state.tables.pods.len() == 4).await;
    let (uid, _) = tables
        .tables
        .pods
        .iter()
        .find(|(_, pod)| pod.workload.pod.name == "reviews-1")
        .unwrap();
    agent.handle.report(vec![weft_tables::PodTrouble {
        uid: uid.clone(),
        reason: "rules".to_owned(),
        message: "nft: operation not permitted".to_owned(),
    }]);
    // The other node has no agent at all.
    pod["metadata"]["name"] = json!("far");
    pod["spec"] = json!({"nodeName": "node2", "containers": [{"name": "c", "image": "i"}]});
    server.apply(pod).await;

    for (pod, reason, words) in [
        ("host", "CannotCapture", "hostNetwork"),
        ("reviews-1", "CaptureFailed", "nft: operation not permitted"),
        ("far", "NoAgent", "no agent of node node2"),
    ] {
        let event = server.until_event(pod).await;
        assert_eq!(event["reason"], reason, "{event:#}");
        assert_eq!(event["type"], "Warning");
        assert!(event["note"].as_str().unwrap().contains(words), "{event:#}");
        assert!(
            event["regarding"]["uid"]
                .as_str()
                .is_some_and(|uid| !uid.is_empty())
        );
    }
    replica
        .until("/debug/uncaptured", |answer| {
            ["shop/host", "shop/reviews-1", "shop/far"]
                .iter()
                .all(|pod| answer.contains(pod))
        })
        .await;
    assert_eq!(server.events("host").await.len(), 1, "each is said once");
}

#[tokio::test]
async fn definitions_explain_themselves_and_refuse_what_can_never_be_right() {
    let server = ApiServer::start(true).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    server.apply(namespace).await;
    let explained = server.schema("networking.istio.io/v1").await;
    for words in [
        "how often a request is tried again after the first try",
        "How long each try may take",
        "Share of the requests",
        "Labels that the pods of the subset carry",
    ] {
        let words = words.to_lowercase();
        assert!(explained.to_lowercase().contains(&words), "{words}");
    }
    let route = |rule: Value| {
        (
            "VirtualService",
            json!({"hosts": ["reviews"], "http": [rule]}),
        )
    };
    let to = json!([{"destination": {"host": "reviews"}}]);
    for ((kind, spec), message) in [
        (
            route(json!({"route": to, "timeout": "soon"})),
            "must be a valid duration of at least 1ms, as in 500ms",
        ),
        (
            route(json!({"route": to, "timeout": "0.5ms"})),
            "must be a valid duration of at least 1ms",
        ),
        (
            route(json!({"route": to, "retries": {"attempts": -1}})),
            "attempts",
        ),
        (
            route(json!({"route": to, "redirect": {"uri": "/"}})),
            "a rule has only one of route, redirect and directResponse",
        ),
        (
            route(json!({"redirect": {"uri": "/"}, "rewrite": {"uri": "/"}})),
            "redirect and rewrite exclude each other",
        ),
        (
            route(json!({"redirect": {"uri": "/", "redirectCode": 200}})),
            "redirectCode",
        ),
        (route(json!({"route": [{"weight": 1}]})), "destination"),
        (
            route(json!({"route": to, "match": [{"uri": {"exact": "/", "prefix": "/"}}]})),
            "uri",
        ),
        (
            route(json!({"route": to, "name": "n".repeat(3000)})),
            "Too long",
        ),
        (
            ("VirtualService", json!({"hosts": vec!["h"; 300]})),
            "Too many",
        ),
        (("DestinationRule", json!({"subsets": []})), "host"),
        (
            (
                "DestinationRule",
                json!({"host": "h", "trafficPolicy": {"loadBalancer": {"simple": "FASTEST"}}}),
            ),
            "Unsupported value: \"FASTEST\"",
        ),
        (
            (
                "DestinationRule",
                json!({"host": "h", "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "x"}}}}),
            ),
            "must be a valid duration",
        ),
    ] {
        let refused = server.refusal(ISTIO, kind, &spec).await;
        assert!(refused.contains(message), "{spec}: {refused}");
    }
    // What Istio's own examples have goes through, and what is not read stays.
    let everything = json!({
        "hosts": ["reviews"], "gateways": ["mesh"], "http": [
            {"match": [{"uri": {"prefix": "/"}, "headers": {"end-user": {"exact": "jason"}, "x": {}}}],
             "route": [{"destination": {"host": "reviews", "subset": "v2"}, "weight": 75}, {"destination": {"host": "reviews"}, "weight": 25}],
             "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "connect-failure,5xx"}, "timeout": "1m30s",
             "fault": {"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}}},
            {"redirect": {"uri": "/x", "redirectCode": 308}},
            {"directResponse": {"status": 503, "body": {"string": "away"}}},
        ],
    });
    let object = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "all", "namespace": "shop"}, "spec": everything,
    });
    let applied = server.apply(object).await;
    assert_eq!(
        applied.data["spec"]["http"][0]["fault"]["delay"]["fixedDelay"],
        "7s"
    );
}

#[tokio::test]
async fn a_node_is_who_its_token_says_and_gets_its_own_tables_only() {
    let server = ApiServer::start(true).await;
    shop(&server).await;
    let replica = Replica::start(&server, "one").await;
    replica.until_ready().await;
    let node = proxy(&server, &replica, "node2").await;
    let pods = &node.client.handle.current().tables.pods;
    assert!(
        pods.values().all(|pod| pod.workload.node == "node2"),
        "{pods:#?}"
    );

    let bound = Some("proxy-node1");
    let tokens = [
        (
            server.token("weft-proxy", Some("weft"), bound).await,
            "the token is node node1's",
        ),
        (
            server.token("weft-proxy", None, bound).await,
            "the token is not accepted",
        ),
        (
            server.token("weft-operator", Some("weft"), None).await,
            "gets no tables",
        ),
        (
            server.token("weft-proxy", Some("weft"), None).await,
            "names no node",
        ),
        ("nonsense".to_owned(), "the token is not accepted"),
        (String::new(), "no token"),
    ];
    for (token, reason) in tokens {
        let state = tempfile::tempdir().unwrap();
        let file = write_token(state.path(), &token);
        let stranger = Client::with_token(
            replica.grpc,
            "node2",
            NodeKind::Proxy,
            state.path(),
            Some(file.clone()),
        );
        let mut status = stranger.handle.status();
        let refused = status.wait_for(|status| {
            status
                .last_error
                .as_deref()
                .is_some_and(|error| error.contains(reason))
        });
        // Not kept: it is a lock on the status.
        let seen = tokio::time::timeout(WAIT, refused).await.is_ok();
        assert!(
            seen,
            "expected \"{reason}\": {:?}",
            stranger.handle.status().borrow().last_error
        );
        assert_eq!(stranger.handle.current().generation, 0);
        if reason == "no token" {
            // The kubelet exchanges the file; the next attempt reads it anew.
            let token = server
                .token("weft-proxy", Some("weft"), Some("proxy-node2"))
                .await;
            write_token(state.path(), &token);
            stranger.until(|state| state.generation > 0).await;
        }
    }
}

/// The definition of a kind of the Gateway API without its schema: what is asked here is who writes what into the status.
fn definition(group: &str, kind: &str, plural: &str, (scope, version): (&str, &str)) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            // Whoever defines kinds of *.k8s.io has to say that it may.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group, "scope": scope,
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}

/// Makes an object whose kind may have been defined just now.
async fn make(api: &kube::Api<kube::core::DynamicObject>, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let parameters = kube::api::PatchParams::apply("test");
    let patch = kube::api::Patch::Apply(object);
    until("the kind is served", async || {
        api.patch(name, &parameters, &patch).await
    })
    .await;
}

#[tokio::test]
async fn a_mesh_is_told_what_it_supports_and_a_grpc_route_that_it_has_no_effect() {
    let server = ApiServer::start(false).await;
    shop(&server).await;
    let replica = Replica::start(&server, "one").await;
    replica.until_ready().await;
    let _node = proxy(&server, &replica, "node1").await;
    let (routes, meshes) = ("gateway.networking.k8s.io", "gateway.networking.x-k8s.io");
    let grpc = definition(routes, "GRPCRoute", "grpcroutes", ("Namespaced", "v1"));
    let mesh = definition(meshes, "XMesh", "xmeshes", ("Cluster", "v1alpha1"));
    server.apply(grpc).await;
    server.apply(mesh).await;
    let route = json!({
        "apiVersion": format!("{routes}/v1"), "kind": "GRPCRoute",
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}]},
    });
    let mesh = json!({
        "apiVersion": format!("{meshes}/v1alpha1"), "kind": "XMesh",
        "metadata": {"name": "weft"},
        "spec": {"controllerName": "weft.mesh/operator"},
    });
    let routes = server.api(&format!("{routes}/v1"), "GRPCRoute", Some("shop"));
    let meshes = server.api(&format!("{meshes}/v1alpha1"), "XMesh", None);
    make(&routes, &route).await;
    make(&meshes, &mesh).await;
    until("route and mesh are told", async || {
        let route = routes.get("reviews").await.unwrap().data;
        let mesh = meshes.get("weft").await.unwrap().data;
        let accepted = &route["status"]["parents"][0]["conditions"][0];
        let features = mesh["status"]["supportedFeatures"].as_array();
        let told = accepted["status"] == "False"
            && accepted["reason"] == "UnsupportedValue"
            && mesh["status"]["conditions"][0]["status"] == "True"
            && features.is_some_and(|all| all.contains(&json!({"name": "MeshConsumerRoute"})));
        check(json!([route["status"], mesh["status"]]), |_| told)
    })
    .await;
}

#[tokio::test]
async fn a_route_is_in_force_and_told_so_beside_other_controllers() {
    let server = ApiServer::start(false).await;
    shop(&server).await;
    let replica = Replica::start(&server, "one").await;
    replica.until_ready().await;
    let node = proxy(&server, &replica, "node1").await;
    let namespaced = ("Namespaced", "v1");
    let routes = definition(
        "gateway.networking.k8s.io",
        "HTTPRoute",
        "httproutes",
        namespaced,
    );
    server.apply(routes).await;
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
            "rules": [{"timeouts": {"request": "6s"}, "backendRefs": [{"name": "reviews", "port": 9080}]}],
        },
    });
    let api = server.api("gateway.networking.k8s.io/v1", "HTTPRoute", Some("shop"));
    make(&api, &route).await;
    let other = json!({"parentRef": {"name": "edge"}, "controllerName": "example.com/edge", "conditions": []});
    let status = kube::api::Patch::Merge(json!({"status": {"parents": [other]}}));
    api.patch_status("reviews", &Default::default(), &status)
        .await
        .unwrap();
    node.client
        .until(|state| timeouts(&state.tables) == [6])
        .await;
    let parents = until("the route is told", async || {
        let parents = api.get("reviews").await.unwrap().data["status"]["parents"].clone();
        check(parents, |parents| {
            let ours = &parents[1];
            ours["controllerName"] == "weft.mesh/operator"
                && ["Accepted", "ResolvedRefs", "Programmed"]
                    .into_iter()
                    .all(|kind| condition(ours, kind).is_some_and(|said| said["status"] == "True"))
        })
    })
    .await;
    assert_eq!(parents[0], other, "what others say stays");
}
