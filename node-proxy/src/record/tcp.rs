//! Records of opaque connections: opened, bytes as they go by (long connections report while they live), closed.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tokio::time::Instant;
use weft_model::reason::Reason;
use weft_observe::Edge;

use super::{EdgeId, Reached, edge_of, log, with_edge};
use crate::l4::front::Conn;
use crate::l7::target::Chosen;

/// A connection that is carried.
pub(crate) struct TcpRecord {
    id: EdgeId,
    reached: Reached,
    started: Instant,
    edge: RefCell<Option<Arc<Edge>>>,
    /// Bytes that wait for labels: client to server, server to client.
    waiting: Cell<(u64, u64)>,
    total: Cell<(u64, u64)>,
    closed: bool,
}

impl TcpRecord {
    /// Begins a record.
    pub(crate) fn open(conn: &Conn, chosen: &Chosen, one_pass: bool, started: Instant) -> Self {
        let reached = chosen.reached(one_pass);
        let id = edge_of(conn, "", Some(&reached), false);
        let edge = conn.worker.edges.known(&conn.worker, id);
        with_edge(&conn.worker, id, Edge::tcp_opened);
        let (waiting, total) = (Cell::new((0, 0)), Cell::new((0, 0)));
        Self {
            id,
            reached,
            started,
            edge: RefCell::new(edge),
            waiting,
            total,
            closed: false,
        }
    }

    /// Counts bytes that were delivered.
    pub(crate) fn bytes(&self, received: u64, sent: u64) {
        self.total
            .set((self.total.get().0 + received, self.total.get().1 + sent));
        match self.edge.borrow().as_ref() {
            Some(edge) => edge.tcp_bytes(sent, received),
            None => self
                .waiting
                .set((self.waiting.get().0 + received, self.waiting.get().1 + sent)),
        }
    }

    /// Ends the record.
    pub(crate) fn close(mut self, conn: &Conn, reason: Option<Reason>) {
        self.closed = true;
        let (received, sent) = self.waiting.get();
        let flags = reason.map_or("-", Reason::flag);
        with_edge(&conn.worker, self.id, move |edge| {
            if received + sent > 0 {
                edge.tcp_bytes(sent, received);
            }
            edge.tcp_closed(flags);
        });
        log::connection(
            conn,
            Some(&self.reached),
            reason,
            self.total.get(),
            self.started,
        );
    }
}

impl Drop for TcpRecord {
    /// The pod went, and its tasks with it: what was opened is closed all the same.
    fn drop(&mut self) {
        if let (false, Some(edge)) = (self.closed, self.edge.get_mut()) {
            edge.tcp_closed(Reason::ClientGone.flag());
        }
    }
}

/// Records a connection that could not be carried.
pub(crate) fn tcp_failed(conn: &Conn, chosen: Option<Chosen>, reason: Reason) {
    let reached = chosen.map(|chosen| chosen.reached(false));
    let id = edge_of(conn, "", reached.as_ref(), false);
    let flags = reason.flag();
    with_edge(&conn.worker, id, move |edge| {
        edge.tcp_opened();
        edge.tcp_closed(flags);
    });
    log::connection(conn, reached.as_ref(), Some(reason), (0, 0), Instant::now());
}
