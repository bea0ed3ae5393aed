use prometheus::Registry;
use weft_k8s::{Snapshot, parse_file};
use weft_service::ready::Readiness;

use super::*;
use crate::source::{Sink, channel};

const WAIT: Duration = Duration::from_secs(10);

struct Fixture {
    sink: Sink,
    handle: Handle,
    readiness: Readiness,
}

fn start() -> Fixture {
    let (sink, changes) = channel();
    let readiness = Readiness::default();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let (pipeline, handle) =
        Pipeline::new(Settings::default(), metrics, readiness.part("manifests"));
    tokio::spawn(pipeline.run(changes));
    Fixture {
        sink,
        handle,
        readiness,
    }
}

fn manifests(text: &str) -> Manifests {
    let (objects, errors) = parse_file("mesh.yaml", text);
    Manifests {
        snapshot: Snapshot::from_objects(objects),
        errors,
        ..Manifests::default()
    }
}

fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{clusterIP: 10.96.0.7, ports: [{{port: 80}}]}}\n"
    )
}

async fn until(handle: &Handle, holds: impl Fn(&Published) -> bool) -> Arc<Published> {
    let mut changes = handle.changes();
    let seen = tokio::time::timeout(WAIT, changes.wait_for(|published| holds(published)));
    seen.await.expect("not in time").unwrap().clone()
}

#[tokio::test]
async fn nothing_is_published_before_the_first_sync() {
    let fixture = start();
    tokio::task::yield_now().await;
    assert_eq!(fixture.handle.current().generation, 0);
    assert!(!fixture.readiness.is_ready());
    fixture.sink.give(manifests(""));
    until(&fixture.handle, |published| published.generation == 1).await;
    assert!(fixture.readiness.is_ready());
}

#[tokio::test]
async fn findings_alone_make_no_generation() {
    let fixture = start();
    fixture.sink.give(manifests(&service("cart")));
    until(&fixture.handle, |published| published.generation == 1).await;
    fixture
        .sink
        .give(manifests(&format!("{}---\nkind: [", service("cart"))));
    let published = until(&fixture.handle, |published| {
        !published.diagnostics.is_empty()
    })
    .await;
    assert_eq!(published.generation, 1);
    fixture.sink.give(manifests(&service("cake")));
    let published = until(&fixture.handle, |published| published.generation == 2).await;
    assert_eq!(published.compiled.tables.services.len(), 1);
}

#[tokio::test]
async fn generations_go_on_above_what_nodes_have_seen() {
    let fixture = start();
    fixture.sink.give(manifests(&service("cart")));
    until(&fixture.handle, |published| published.generation == 1).await;
    fixture.handle.generations().count_above(41);
    fixture.sink.give(manifests(&service("cake")));
    until(&fixture.handle, |published| published.generation == 42).await;
}

#[tokio::test]
async fn whoever_takes_over_gives_the_newest_tables_a_higher_number() {
    let fixture = start();
    fixture.sink.give(manifests(&service("cart")));
    until(&fixture.handle, |published| published.generation == 1).await;
    fixture.handle.take_over(41).await;
    let published = fixture.handle.current();
    assert_eq!(published.generation, 42);
    assert_eq!(published.compiled.tables.services.len(), 1);
    // A number of our own, and one that was heard before, are no news.
    fixture.handle.count_above(42);
    fixture.handle.count_above(7);
    fixture.handle.take_over(30).await;
    assert_eq!(fixture.handle.current().generation, 42);
    fixture.handle.count_above(99);
    until(&fixture.handle, |published| published.generation == 100).await;
}

#[test]
fn a_lost_endpoint_is_told_from_other_changes() {
    let slice = |addresses: &[(&str, bool)]| {
        let endpoints: Vec<String> = addresses
            .iter()
            .map(|(address, ready)| {
                format!("{{addresses: [{address}], conditions: {{ready: {ready}}}}}")
            })
            .collect();
        manifests(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: cart-1, namespace: shop}}\naddressType: IPv4\nendpoints: [{}]\n",
            endpoints.join(", ")
        ))
    };
    let two = slice(&[("10.244.1.2", true), ("10.244.1.3", true)]);
    let loses = |new: &Manifests| loses_endpoints(Some(&two), Some(new));
    assert!(!loses(&two));
    assert!(!loses(&slice(&[
        ("10.244.1.2", true),
        ("10.244.1.3", true),
        ("10.244.1.4", true)
    ])));
    assert!(loses(&slice(&[("10.244.1.2", true)])));
    assert!(loses(&slice(&[
        ("10.244.1.2", true),
        ("10.244.1.3", false)
    ])));
    assert!(loses(&manifests("")));
}
