//! Two replicas: one leads, and when it dies the other goes on from its number.

use serde_json::Value;

use super::{Node, Replica, proxy, route, shop, timeouts};
use crate::api_server::ApiServer;
use crate::mesh::WAIT;

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
