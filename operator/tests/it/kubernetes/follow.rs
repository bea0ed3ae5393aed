//! The mesh follows the API: objects are made, broken, repaired and removed, the API server goes away, kinds come late.

use serde_json::{Value, json};

use super::{ISTIO, Replica, proxy, route, service, shop, timeouts};
use crate::api_server::{ApiServer, NAMESPACE};
use crate::mesh::until;

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
