//! A captured connection before anything is known of it: where it wanted to go, what it speaks, who carries it.
//!
//! Order (design.md §2): original destination → own ports → tables → protocol → carry. Nothing is dialled before the
//! destination has been decided on, and a destination that cannot be learned closes the connection.

pub(crate) mod detect;
pub(crate) mod front;
pub(crate) mod leg;
pub(crate) mod tcp;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use weft_model::capture::OWN_PORTS;
use weft_model::protocol::Protocol;
use weft_model::reason::Reason;

use crate::l7;
use crate::net::reader::Reader;
use crate::net::reset_on_close;
use crate::pods::Pod;
use crate::worker::{Open, Worker};
use detect::Spoken;
use front::{Conn, Front};

/// Which way a connection was going when it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Out of the pod.
    Outbound,
    /// Into the pod.
    Inbound,
}

/// A connection that a pod's listener has accepted.
pub(crate) struct Accepted {
    pub(crate) worker: Rc<Worker>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) direction: Direction,
    /// Counts the connection while it lives.
    pub(crate) _open: Open,
}

/// Carries one captured connection to its end.
pub(crate) async fn serve(accepted: Accepted, stream: TcpStream) {
    let counters = &Rc::clone(&accepted.worker).shared.counters;
    let conn = match identify(&accepted, &stream).await {
        Ok(conn) => conn,
        Err(reason) => {
            counters.rejected(reason);
            return reset_on_close(&stream);
        }
    };
    let mut reader = Reader::default();
    // Boxed, so that an idle HTTP connection is no larger than it must be.
    match detect::detect(&conn, &stream, &mut reader).await {
        Spoken::Http1 => l7::server::serve(conn, stream, reader).await,
        Spoken::Http2 => {
            counters.http2_as_tcp.inc();
            Box::pin(tcp::serve(conn, stream, reader, None)).await;
        }
        Spoken::Opaque => Box::pin(tcp::serve(conn, stream, reader, None)).await,
        Spoken::Nothing => Box::pin(tcp::wait_for_either(conn, stream, reader)).await,
        Spoken::Gone => {}
    }
}

/// Who connects where. Fails closed: whatever cannot be learned ends the connection.
async fn identify(accepted: &Accepted, stream: &TcpStream) -> Result<Conn, Reason> {
    let destination = weft_netns::original_destination(stream).map_err(|_| Reason::NoRoute)?;
    let peer = stream.peer_addr().map_err(|_| Reason::ClientGone)?;
    let destination = canonical(destination);
    if OWN_PORTS.contains(&destination.port()) && accepted.owns(destination) {
        return Err(Reason::OwnPort);
    }
    Front::resolve(accepted, canonical(peer), destination).await
}

impl Accepted {
    /// Whether an address is one of this pod's or means the pod itself.
    fn owns(&self, address: SocketAddr) -> bool {
        self.direction == Direction::Inbound
            || address.ip().is_loopback()
            || self.pod.ips.contains(&address.ip())
    }
}

/// IPv4 that came through a dual-stack socket is IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a port's declaration asks for HTTP to be expected, found out or never looked for.
pub(crate) fn expects(protocol: Protocol) -> detect::Expect {
    match protocol {
        Protocol::Http => detect::Expect::Http,
        Protocol::Detect => detect::Expect::Anything,
        Protocol::Http2 | Protocol::Grpc | Protocol::Tcp | Protocol::ServerFirst => {
            detect::Expect::Opaque
        }
    }
}
