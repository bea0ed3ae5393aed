//! A manifest's way to the nodes.

use std::time::{Duration, Instant};

use weft_model::id::ServiceId;
use weft_model::table::Tables;
use weft_tables::NodeKind;

use crate::mesh::Mesh;

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.mesh/mode: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  selector: {app: cart}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: shop}
spec:
  clusterIP: 10.96.0.8
  selector: {app: store}
  ports: [{name: tcp, port: 6379}]
---
apiVersion: v1
kind: Pod
metadata: {name: cart-0, namespace: shop, uid: uid-cart-0, labels: {app: cart, version: v1}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.244.1.2, podIPs: [{ip: 10.244.1.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: store-0, namespace: shop, uid: uid-store-0, labels: {app: store}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Running, podIP: 10.244.2.2, podIPs: [{ip: 10.244.2.2}]}
";

const OTHER: &str = "
apiVersion: v1
kind: Service
metadata: {name: mail, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}
";

fn slice(addresses: &[&str]) -> String {
    let endpoints: Vec<String> = addresses
        .iter()
        .map(|address| {
            format!("{{addresses: [{address}], conditions: {{ready: true}}, nodeName: n1}}")
        })
        .collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: cart-1, namespace: shop, labels: {{kubernetes.io/service-name: cart}}}}\naddressType: IPv4\nendpoints: [{}]\nports: [{{name: http, port: 8080}}]\n",
        endpoints.join(", ")
    )
}

fn route(weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: cart, namespace: shop}}\nspec:\n  hosts: [cart]\n  http:\n  - route:\n    - destination: {{host: cart}}\n      weight: {weight}\n    - destination: {{host: store}}\n      weight: {}\n",
        100 - weight
    )
}

fn cart(tables: &Tables) -> ServiceId {
    tables.index.services[&"10.96.0.7".parse().unwrap()]
}

/// First weight of the route of `cart`, if it is there.
fn weight(tables: &Tables) -> Option<u32> {
    let policy = tables.policies.get(&cart(tables))?;
    match &policy.default.http.as_ref()?.first()?.action {
        weft_model::route::Action::Forward(backends) => {
            backends.first().map(|backend| backend.weight)
        }
        _ => None,
    }
}

fn endpoints(tables: &Tables) -> usize {
    tables
        .endpoints
        .get(&cart(tables))
        .map_or(0, |all| all.ports.values().map(Vec::len).sum())
}

async fn shop() -> Mesh {
    Mesh::new(&[
        ("shop.yaml", SHOP),
        ("slice.yaml", &slice(&["10.244.1.2"])),
        ("route.yaml", &route(90)),
    ])
    .await
}

#[tokio::test]
async fn each_node_gets_the_index_its_own_pods_and_what_it_asks_for() {
    let mesh = shop().await;
    let (proxy, agent) = (
        mesh.client("n1", NodeKind::Proxy),
        mesh.client("n2", NodeKind::Agent),
    );
    let state = proxy.until(|state| state.generation > 0).await;
    assert_eq!(state.tables.pods.keys().collect::<Vec<_>>(), ["uid-cart-0"]);
    assert_eq!(state.tables.index.services.len(), 2);
    assert_eq!(state.tables.index.workloads.len(), 2);
    assert!(state.tables.services.is_empty());
    let state = agent.until(|state| state.generation > 0).await;
    assert_eq!(
        state.tables.pods.keys().collect::<Vec<_>>(),
        ["uid-store-0"]
    );

    proxy.handle.want_service(cart(&state.tables));
    let state = proxy.until(|state| weight(&state.tables) == Some(90)).await;
    // What the route sends to comes along, and the endpoints.
    assert_eq!(state.tables.services.len(), 2);
    assert_eq!(endpoints(&state.tables), 1);
    assert!(
        agent.handle.current().tables.services.is_empty(),
        "the other node asked for nothing"
    );
}

#[tokio::test]
async fn a_saved_file_is_on_the_nodes_within_a_second() {
    let mesh = shop().await;
    let (first, second) = (
        mesh.client("n1", NodeKind::Proxy),
        mesh.client("n2", NodeKind::Proxy),
    );
    for client in [&first, &second] {
        let state = client.until(|state| state.generation > 0).await;
        client.handle.want_service(cart(&state.tables));
        client
            .until(|state| weight(&state.tables) == Some(90))
            .await;
    }
    // A busy machine delays any of them, but only the operator's own waiting delays all.
    let mut quickest = Duration::MAX;
    for percent in [50, 60, 70, 80, 10] {
        let saved = Instant::now();
        mesh.write("route.yaml", &route(percent));
        for client in [&first, &second] {
            client
                .until(|state| weight(&state.tables) == Some(percent))
                .await;
        }
        quickest = quickest.min(saved.elapsed());
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");

    let slice = std::fs::read_to_string(mesh.path("slice.yaml")).unwrap();
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        mesh.write("slice.yaml", &slice);
        first.until(|state| endpoints(&state.tables) == 1).await;
        let removed = Instant::now();
        std::fs::remove_file(mesh.path("slice.yaml")).unwrap();
        first.until(|state| endpoints(&state.tables) == 0).await;
        quickest = quickest.min(removed.elapsed());
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
}

#[tokio::test]
async fn a_broken_file_is_named_and_changes_nothing() {
    let mesh = shop().await;
    let client = mesh.client("n1", NodeKind::Proxy);
    let state = client.until(|state| state.generation > 0).await;
    client.handle.want_service(cart(&state.tables));
    let before = client
        .until(|state| weight(&state.tables) == Some(90))
        .await;
    mesh.write(
        "route.yaml",
        &route(50).replace("weight: 50", "weight: half"),
    );
    let answer = mesh
        .until("/debug/diagnostics", |answer| answer.contains("route.yaml"))
        .await;
    for part in [
        "\"kind\": \"VirtualService\"",
        "shop/cart",
        "spec.http[0].route[0].weight",
        "\"line\": ",
    ] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    assert!(
        mesh.metric("weft_operator_diagnostics{level=\"error\"}")
            .await
            >= 1.0
    );
    assert_eq!(weight(&client.handle.current().tables), Some(90));
    // The rest of the mesh still moves, and the repaired file counts.
    mesh.write("slice.yaml", &slice(&["10.244.1.2", "10.244.1.3"]));
    let moved = client.until(|state| endpoints(&state.tables) == 2).await;
    assert_eq!(weight(&moved.tables), Some(90));
    assert!(moved.generation > before.generation);
    mesh.write("route.yaml", &route(10));
    client
        .until(|state| weight(&state.tables) == Some(10))
        .await;
}

#[tokio::test]
async fn a_restarted_operator_sends_no_node_everything_again() {
    let mut mesh = shop().await;
    let client = mesh.client("n1", NodeKind::Proxy);
    let state = client.until(|state| state.generation > 0).await;
    client.handle.want_service(cart(&state.tables));
    client
        .until(|state| weight(&state.tables) == Some(90))
        .await;
    for percent in [80, 70] {
        mesh.write("route.yaml", &route(percent));
        client
            .until(|state| weight(&state.tables) == Some(percent))
            .await;
    }
    let before = client.handle.current();
    mesh.kill_operator().await;
    client.until_connected(false).await;
    assert_eq!(
        client.handle.current(),
        before,
        "operator gone: nothing changes"
    );

    mesh.start_operator().await;
    client.until_connected(true).await;
    // A change of another service proves that the stream has settled.
    mesh.write("more.yaml", OTHER);
    let after = client
        .until(|state| state.tables.index.services.len() == 3)
        .await;
    assert!(after.generation > before.generation);
    assert_eq!(after.tables.policies, before.tables.policies);
    assert_eq!(
        mesh.metric("weft_operator_pushes_total{kind=\"change\"}")
            .await,
        1.0
    );
    assert!(mesh.metric("weft_operator_pushed_bytes_total").await < 200.0);
    let text = mesh.get("/metrics").await.unwrap();
    assert!(!text.contains("kind=\"reset\""), "{text}");
    // And it goes on from there.
    mesh.write("route.yaml", &route(60));
    client
        .until(|state| weight(&state.tables) == Some(60))
        .await;
}

#[tokio::test]
async fn a_restarted_node_serves_from_disk_and_then_catches_up() {
    let mut mesh = shop().await;
    let client = mesh.client("n1", NodeKind::Proxy);
    let state = client.until(|state| state.generation > 0).await;
    client.handle.want_service(cart(&state.tables));
    let before = client
        .until(|state| weight(&state.tables) == Some(90))
        .await;
    client.stop().await;
    mesh.kill_operator().await;
    mesh.write("route.yaml", &route(20));

    let client = mesh.client("n1", NodeKind::Proxy);
    let loaded = client.handle.current();
    assert_eq!(
        loaded.tables, before.tables,
        "at once, before any connection"
    );
    mesh.start_operator().await;
    // What it had asked for before is remembered too.
    client
        .until(|state| weight(&state.tables) == Some(20))
        .await;
}

#[tokio::test]
async fn a_damaged_state_file_is_not_used() {
    let mesh = shop().await;
    let client = mesh.client("n1", NodeKind::Proxy);
    client.until(|state| state.generation > 0).await;
    client.stop().await;
    let file = mesh.dir.path().join("n1/proxy").join(weft_tables::FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let client = mesh.client("n1", NodeKind::Proxy);
    assert_eq!(client.handle.current().generation, 0);
    client.until(|state| state.generation > 0).await;
}

#[tokio::test]
async fn nodes_and_their_generations_are_shown() {
    let mut mesh = shop().await;
    let client = mesh.client("n1", NodeKind::Proxy);
    let generation = client.until(|state| state.generation > 0).await.generation;
    let acked = format!("\"acked\": {generation}");
    let answer = mesh
        .until("/debug/nodes", |answer| answer.contains(&acked))
        .await;
    assert!(
        answer.contains(&format!("\"generation\": {generation}")),
        "{answer}"
    );
    for part in [
        "\"node\": \"n1\"",
        "\"kind\": \"proxy\"",
        "\"version\": \"0.0.0-test\"",
    ] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    assert_eq!(
        mesh.metric("weft_operator_nodes{kind=\"proxy\"}").await,
        1.0
    );
    assert_eq!(mesh.metric("weft_operator_acks_total").await, 1.0);
    assert_eq!(
        mesh.stop_operator().await,
        Some(0),
        "SIGTERM is an orderly stop"
    );
}

#[tokio::test]
async fn a_refused_generation_is_shown_with_its_reason() {
    let mesh = shop().await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let config = weft_tables::ClientConfig {
        token_file: None,
        operator: format!("http://{}", mesh.grpc),
        node: "n1".into(),
        kind: NodeKind::Proxy,
        state_dir: mesh.dir.path().join("state"),
        version: "0".into(),
    };
    let handle = weft_tables::start(config, shutdown.clone()).unwrap();
    let mut changed = handle.changed();
    tokio::time::timeout(crate::mesh::WAIT, changed.changed())
        .await
        .unwrap()
        .unwrap();
    let generation = changed.borrow_and_update().generation;
    handle.nack(generation, "a regular expression is too big");
    tokio::time::timeout(crate::mesh::WAIT, changed.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(handle.current().generation, 0, "back to what was good");
    mesh.until("/debug/nodes", |answer| {
        answer.contains("a regular expression is too big")
    })
    .await;
    assert_eq!(mesh.metric("weft_operator_nacks_total").await, 1.0);
    shutdown.cancel();
}
