//! Pods that are not captured, and why.

use serde_json::json;
use weft_tables::NodeKind;

use super::{Replica, shop, write_token};
use crate::api_server::ApiServer;
use crate::mesh::Client;

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
