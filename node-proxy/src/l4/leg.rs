//! The way from this proxy to an endpoint: in which namespace the socket is opened and from whose address (contracts.md §7).

use std::net::SocketAddr;
use std::sync::Arc;

use super::Direction;
use super::front::Conn;
use crate::l7::pool::Key;
use crate::net::connect::From;
use crate::pods::Pod;

/// A way to an endpoint.
pub(crate) struct Leg {
    /// Pod in whose namespace the socket is opened.
    pub(crate) pod: Arc<Pod>,
    /// Identity of the connection for pooling.
    pub(crate) key: Key,
    /// Whether this one pass does the work of the destination's node too.
    pub(crate) one_pass: bool,
}

/// The way that `conn` takes to `address`.
pub(crate) fn leg(conn: &Conn, address: SocketAddr) -> Leg {
    match conn.direction {
        Direction::Inbound => to_app(conn, &conn.pod, address, false),
        Direction::Outbound => match one_pass(conn, address) {
            Some(pod) => to_app(conn, &pod, address, true),
            None => direct(conn, address),
        },
    }
}

/// The way out of the pod, whoever owns the address.
pub(crate) fn direct(conn: &Conn, address: SocketAddr) -> Leg {
    let serial = conn.pod.serial;
    let key = Key {
        opened_in: serial,
        source: serial,
        from: From::Pod,
        to: address,
    };
    Leg {
        pod: Arc::clone(&conn.pod),
        key,
        one_pass: false,
    }
}

fn to_app(conn: &Conn, pod: &Arc<Pod>, address: SocketAddr, one_pass: bool) -> Leg {
    let source = if one_pass { conn.pod.serial } else { 0 };
    let key = Key {
        opened_in: pod.serial,
        source,
        from: From::Client(conn.peer.ip()),
        to: address,
    };
    Leg {
        pod: Arc::clone(pod),
        key,
        one_pass,
    }
}

/// The destination's pod, when both are on this node, it is to stay in the mesh, and no NetworkPolicy wants to see the
/// packets.
fn one_pass(conn: &Conn, address: SocketAddr) -> Option<Arc<Pod>> {
    let pods = conn.worker.pods();
    let pod = pods.at(address.ip()).filter(|pod| !pod.is_releasing())?;
    let tables = conn.worker.tables();
    let target = tables.pod(&pod.uid)?;
    let same_family = conn.peer.ip().is_ipv4() == address.ip().is_ipv4();
    let seen = conn.local.workload.egress_policy || target.workload.ingress_policy;
    let excluded = target
        .capture
        .exclude_inbound_ports
        .iter()
        .any(|range| range.contains(address.port()));
    (same_family && !seen && !excluded).then(|| Arc::clone(pod))
}
