//! Ordinary HTTP/1.1 between two captured pods of one node.

use crate::world::{HTTP, ONE, World};

#[test]
fn a_get_through_the_cluster_ip_reaches_the_pod_and_shows_the_clients_address() {
    let world = World::new();
    let backend = world.web();
    let answer = world.dial().get("/a?b=c");
    assert_eq!((answer.status, answer.text()), (200, "v1"));
    let seen = backend.last();
    assert_eq!(seen.line(), "GET /a?b=c");
    assert_eq!(seen.header("host"), Some("one"));
    assert_eq!(seen.peer.ip(), world.client.ip);
    assert_eq!(seen.header("x-request-id").unwrap().len(), 36);
}

#[test]
fn one_upstream_connection_serves_all_requests_of_a_pod_in_turn() {
    let world = World::new();
    let backend = world.web();
    let mut client = world.dial();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    drop(client);
    for _ in 0..10 {
        assert_eq!(world.dial_to(ONE, HTTP).get("/").status, 200);
    }
    assert_eq!((backend.connections(), backend.hits()), (1, 20));
}
