//! What becomes of both connections once a request is answered: the client's goes on only behind the whole of its body, the
//! endpoint's is lent on only when nothing is left on it.

use std::pin::pin;

use weft_h1::Framing;

use super::body::Chunk;
use super::plan::Request;
use super::replay::RequestBody;
use super::server::Next;
use super::upstream::Upstream;
use crate::config::{DRAIN_BYTES, DRAIN_TIMEOUT};
use crate::l4::front::Conn;
use crate::net::deadline::Deadline;

/// Whether the client may be told that it can send another request after an answer of the proxy's own.
pub(super) fn keeps(conn: &Conn, request: &Request, body: &RequestBody<'_>) -> bool {
    let short = match request.framing {
        _ if body.is_done() => true,
        // The client waits for leave to send; it will not be given, so what follows cannot be told apart.
        _ if request.expect_continue => false,
        Framing::Length(length) => length.saturating_sub(body.received()) <= DRAIN_BYTES as u64,
        Framing::Chunked => true,
        Framing::None | Framing::UntilClose => false,
    };
    request.keep_alive && short && !conn.is_leaving()
}

/// After the answer: the connection goes on only behind the whole body.
pub(super) async fn settle(keep: bool, body: RequestBody<'_>, deadline: &Deadline) -> Next {
    match keep && (body.is_done() || drain(body, deadline).await) {
        true => Next::Again,
        false => Next::Close,
    }
}

/// Reads what is left of a body that nobody wants; false when it is too long or too slow, then the connection must close.
async fn drain(mut body: RequestBody<'_>, deadline: &Deadline) -> bool {
    let mut left = DRAIN_BYTES;
    deadline.set_after(DRAIN_TIMEOUT);
    let drained = pin!(async {
        loop {
            let count = match body.ready() {
                Ok(Chunk::Data(data)) => data.len(),
                Ok(Chunk::End(_)) => return true,
                Ok(Chunk::Wait) => match body.more().await {
                    Ok(()) => continue,
                    Err(_) => return false,
                },
                Err(_) => return false,
            };
            if count > left {
                return false;
            }
            left -= count;
            body.consume(count);
        }
    });
    deadline.guard(drained).await.unwrap_or(false)
}

/// Lends a connection to the next request, unless something is left on it that nobody asked for.
pub(super) fn keep_upstream(conn: &Conn, mut upstream: Box<Upstream>) {
    upstream.reader.release(&conn.worker.buffers);
    upstream.reused = true;
    if upstream.reader.is_empty() {
        conn.worker.upstreams.give(upstream);
    } else {
        conn.worker.shared.counters.unasked_bytes.inc();
    }
}
