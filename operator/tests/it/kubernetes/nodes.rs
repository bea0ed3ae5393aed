//! Who is let in as a node, and what it gets.

use weft_tables::NodeKind;

use super::{Replica, proxy, shop, write_token};
use crate::api_server::ApiServer;
use crate::mesh::{Client, WAIT};

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
