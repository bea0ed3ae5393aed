//! After `101 Switching Protocols` the connection is bytes: no parsing, no pooling, recorded when it ends.

use weft_model::reason::Reason;

use super::server::Client;
use super::upstream::Upstream;
use crate::l4::front::Conn;
use crate::net::copy::Ended;
use crate::record::{self, Pending};

/// A switched connection before its bytes move.
pub(crate) struct Switched {
    /// The endpoint's side.
    pub(crate) upstream: Box<Upstream>,
    /// The request, and its record so far.
    pub(crate) pending: Pending,
}

impl Switched {
    /// Carries bytes until both sides have ended, then records the request.
    pub(crate) async fn run(self, conn: &Conn, client: Client) {
        let Self {
            mut upstream,
            pending: Pending {
                request,
                mut record,
            },
        } = self;
        let mut client = client;
        let pool = &conn.worker.buffers;
        client
            .writer
            .out(pool)
            .extend_from_slice(upstream.reader.available());
        record.sent += upstream.reader.available().len() as u64;
        upstream
            .writer
            .out(pool)
            .extend_from_slice(client.reader.available());
        record.received += client.reader.available().len() as u64;
        // What was read ahead is on its way; a connection that idles from now on holds no buffer.
        for reader in [&mut upstream.reader, &mut client.reader] {
            reader.consume(usize::MAX);
            reader.release(pool);
        }
        let (to_client, to_upstream) = tokio::join!(
            client.writer.flush(&client.stream, pool),
            upstream.writer.flush(&upstream.stream, pool),
        );
        let (received, sent) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let ended = if to_client.is_ok() && to_upstream.is_ok() {
            let progress = |up, down| {
                received.set(received.get() + up);
                sent.set(sent.get() + down);
            };
            upstream.carry(&client.stream, pool, &progress).await
        } else {
            crate::net::reset_on_close(&client.stream);
            Ended::ByServer
        };
        record.received += received.get();
        record.sent += sent.get();
        record.reason = match ended {
            Ended::Orderly => None,
            Ended::ByClient => Some(Reason::ClientGone),
            Ended::ByServer => Some(Reason::UpstreamReset),
        };
        record::request(conn, &request, &record);
    }
}
