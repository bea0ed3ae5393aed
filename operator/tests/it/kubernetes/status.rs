//! What policies are told of themselves: accepted, in force, on how many nodes, beside what other controllers say.

use serde_json::{Value, json};

use super::{ISTIO, Replica, proxy, route, shop, timeouts};
use crate::api_server::{ApiServer, condition};
use crate::mesh::{check, until};

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
