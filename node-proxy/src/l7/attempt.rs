//! One request on one upstream connection, up to the head of the answer.
//!
//! The request's body goes out while the answer is awaited. Whatever happens, the caller learns whether a byte of the
//! answer was seen, because that decides about retries.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use http::{Method, Version};
use tokio::time::Instant;
use weft_h1::{HeadScanner, Limits, ResponseHead};
use weft_model::reason::Reason;

use super::pump::{Pump, Sink, Source, Stopped};
use super::respond::{self, ClientHalf};
use super::upstream::Upstream;
use crate::config::MAX_INTERIM;
use crate::l4::front::Conn;

/// A request on its way: what the attempt needs besides the upstream.
pub(crate) struct Sending<'a> {
    pub(crate) conn: &'a Conn,
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    /// Whether the request may be repeated when nobody knows if it was carried out.
    pub(crate) idempotent: bool,
    pub(crate) limits: &'a Limits,
    /// When bytes last moved.
    pub(crate) moved: &'a Cell<Instant>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The endpoint's fault.
    Upstream(Reason),
    /// The rule's: it makes failures with this status on purpose.
    Injected(u16),
    /// The client's: its body broke, or it cannot be written to.
    Client,
}

/// Sends the pending head and the body, and waits for the final head of the answer. On success the body may still be on
/// its way: `pump` knows how far it is. Interim answers go to the client, if there is one.
pub(crate) async fn attempt<S: Source>(
    sending: &Sending<'_>,
    upstream: &mut Upstream,
    body: &mut S,
    pump: &mut Pump,
    mut client: Option<&mut ClientHalf<'_>>,
) -> Result<ResponseHead, Failed> {
    let pool = &sending.conn.worker.buffers;
    let reused = upstream.reused;
    let mut interim = 0;
    let mut sink_broken = false;
    let mut heads = Heads {
        scanner: HeadScanner::default(),
        stale: reused && sending.idempotent,
    };
    loop {
        let head = {
            let Upstream {
                stream,
                reader,
                writer,
                ..
            } = &mut *upstream;
            let mut sink = Sink {
                stream,
                writer,
                pool,
            };
            let mut send = pin!(pump.run(body, &mut sink, sending.moved));
            let mut receive = pin!(heads.next(sending, stream, reader));
            let mut sent = sink_broken;
            poll_fn(|context| {
                if !sent && let Poll::Ready(result) = send.as_mut().poll(context) {
                    sent = true;
                    match result {
                        Ok(()) => {}
                        Err(Stopped::Source) => return Poll::Ready(Err(Failed::Client)),
                        // The endpoint may have answered before it stopped reading: its answer, or its absence, decides.
                        Err(Stopped::Sink) => sink_broken = true,
                    }
                }
                receive.as_mut().poll(context).map_err(Failed::Upstream)
            })
            .await?
        };
        if !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(head);
        }
        interim += 1;
        if interim > MAX_INTERIM {
            return Err(Failed::Upstream(Reason::UpstreamProtocol));
        }
        heads.scanner = HeadScanner::default();
        if let Some(client) = &mut client {
            respond::interim(sending.conn, client, sending.version, &head)
                .await
                .map_err(|_| Failed::Client)?;
        }
    }
}

/// Reads heads from an upstream connection.
struct Heads {
    scanner: HeadScanner,
    /// Whether a close before the first byte of an answer means that the pooled connection was stale. It was most likely
    /// closed before it saw us, but only a request that may be carried out twice can rely on that.
    stale: bool,
}

impl Heads {
    async fn next(
        &mut self,
        sending: &Sending<'_>,
        stream: &tokio::net::TcpStream,
        reader: &mut crate::net::reader::Reader,
    ) -> Result<ResponseHead, Reason> {
        loop {
            if !reader.is_empty() && self.scanner.ready(reader.available(), sending.limits.head) {
                let parsed =
                    weft_h1::parse_response(reader.available(), sending.method, sending.limits);
                if let Some((head, length)) = parsed.map_err(|_| Reason::UpstreamProtocol)? {
                    reader.consume(length);
                    return Ok(head);
                }
            }
            match reader.fill(stream, &sending.conn.worker.buffers).await {
                Ok(0) => return Err(self.gone(reader.is_empty())),
                Ok(_) => {}
                Err(_) => return Err(self.gone(reader.is_empty())),
            }
        }
    }

    fn gone(&self, untouched: bool) -> Reason {
        if self.stale && untouched {
            Reason::StaleConnection
        } else {
            Reason::UpstreamReset
        }
    }
}
