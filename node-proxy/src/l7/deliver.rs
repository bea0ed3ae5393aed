//! The way back: the endpoint's answer to the client, a switch of protocols, or the proxy's own words where no endpoint
//! answered. Whatever happened, both connections are left in a state that it allows.

use http::{Method, StatusCode, Version};
use tokio::time::Instant;
use weft_h1::{Connection, Framing, ResponseHead};
use weft_model::reason::Reason;

use super::attempt::Failed;
use super::attempts::Answered;
use super::body::Body;
use super::exchange::Cx;
use super::forward::{Downward, Upward, forward};
use super::plan::Request;
use super::pump::{Pump, Sink};
use super::replay::RequestBody;
use super::respond::{ClientHalf, Responder};
use super::server::Next;
use super::settle::{keep_upstream, keeps, settle};
use super::upgrade::Switched;
use super::upstream::Upstream;
use crate::record::{Pending, Reached, Record};

impl Cx<'_> {
    /// Sends the answer to the client and leaves both connections in the state that what happened allows.
    pub(super) async fn deliver(
        &self,
        answered: Answered,
        mut body: RequestBody<'_>,
        client: ClientHalf<'_>,
        exhausted: bool,
    ) -> (Record, Next) {
        let Answered {
            mut upstream,
            mut head,
            mut pump,
            reached,
            chosen: _chosen,
        } = answered;
        let upstream_time = Some(self.request.started.elapsed());
        self.plan.dress(&mut head.headers);
        let keep = self.request.keep_alive
            && !self.conn.is_leaving()
            && (body.is_done() || !self.request.expect_continue);
        let pool = self.pool();
        let announced = self.announce(&head, client.writer.out(pool), keep);
        let mut down = Pump::new(if head.framing.is_empty() {
            Framing::None
        } else {
            announced
        });
        let result = {
            let Upstream {
                stream,
                reader,
                writer,
                ..
            } = &mut *upstream;
            let mut content = Body::after_head(stream, reader, pool, head.framing, self.limits);
            self.moved.set(Instant::now());
            let up = Upward {
                body: &mut body,
                pump: &mut pump,
                sink: Sink {
                    stream,
                    writer,
                    pool,
                },
            };
            let to_client = Sink {
                stream: client.stream,
                writer: client.writer,
                pool,
            };
            let down = Downward {
                body: &mut content,
                pump: &mut down,
                sink: to_client,
            };
            let until = self
                .plan
                .rule
                .and_then(|rule| rule.timeout)
                .map(|limit| self.request.started + limit);
            forward(up, down, self.deadline, self.moved, until).await
        };
        let record = Record {
            status: head.status.as_u16(),
            reason: result.err(),
            exhausted,
            delayed: self.delayed.get(),
            received: body.received(),
            sent: down.sent(),
            upstream: Some(reached),
            route: self.plan.route(),
            upstream_time,
        };
        if result.is_err() {
            return (record, Next::Reset);
        }
        if head.keep_alive
            && self.request.upgrade.is_none()
            && pump.is_done(&upstream.writer)
            && body.is_done()
            && head.framing != Framing::UntilClose
        {
            keep_upstream(self.conn, upstream);
        }
        let keep = keep && announced != Framing::UntilClose;
        (record, settle(keep, body, self.deadline).await)
    }

    /// Writes the head of the answer; returns how its body must be framed.
    fn announce(&self, head: &ResponseHead, out: &mut Vec<u8>, keep: bool) -> Framing {
        // A body that ends with the connection need not end the client's, where the client knows chunks.
        let framing = match head.head_framing() {
            Framing::UntilClose if self.request.version >= Version::HTTP_11 => Framing::Chunked,
            framing => framing,
        };
        let connection = match &head.upgrade {
            Some(protocol) if head.status == StatusCode::UPGRADE_REQUIRED => {
                Connection::Upgrade(protocol)
            }
            _ if keep => Connection::KeepAlive,
            _ => Connection::Close,
        };
        weft_h1::write_response_head(
            out,
            self.request.version,
            head.status,
            &head.headers,
            framing,
            connection,
        )
    }

    /// Tells the client of the switch; the bytes after it are moved by the server's loop.
    pub(super) async fn switch(
        &self,
        answered: Answered,
        client: &mut ClientHalf<'_>,
    ) -> Option<HalfSwitched> {
        let Answered {
            upstream,
            mut head,
            reached,
            ..
        } = answered;
        let protocol = head.upgrade.take()?;
        self.plan.dress(&mut head.headers);
        let pool = self.pool();
        let (version, connection) = (self.request.version, Connection::Upgrade(&protocol));
        let out = client.writer.out(pool);
        let _ = weft_h1::write_response_head(
            out,
            version,
            head.status,
            &head.headers,
            Framing::None,
            connection,
        );
        let record = Record {
            status: head.status.as_u16(),
            upstream: Some(reached),
            route: self.plan.route(),
            upstream_time: Some(self.request.started.elapsed()),
            delayed: self.delayed.get(),
            ..Record::default()
        };
        Some(HalfSwitched { upstream, record })
    }

    /// Answers for an endpoint that did not, or gives up on a client that is gone.
    pub(super) async fn fail(
        &self,
        failed: Failed,
        reached: Option<Reached>,
        exhausted: bool,
        body: RequestBody<'_>,
        client: ClientHalf<'_>,
    ) -> (Record, Next) {
        let received = body.received();
        let answer = match failed {
            Failed::Upstream(reason) => self.plan.failure(reason),
            Failed::Injected(status) => self.plan.injected(status),
            Failed::Client => {
                let record = Record {
                    reason: Some(Reason::ClientGone),
                    delayed: self.delayed.get(),
                    received,
                    upstream: reached,
                    route: self.plan.route(),
                    ..Record::default()
                };
                return (record, Next::Reset);
            }
        };
        let reason = answer.reason;
        let keep = keeps(self.conn, self.request, &body);
        let head_only = self.request.method == Method::HEAD;
        let mut responder =
            Responder::half(self.conn, client, self.deadline, self.request.version, keep);
        let sent = responder.local(&answer, head_only).await;
        let upstream = reached.filter(|_| reason != Reason::NoEndpoint);
        let record = Record {
            exhausted,
            delayed: self.delayed.get(),
            received,
            upstream,
            ..Record::local(&answer, sent)
        };
        (record, settle(keep, body, self.deadline).await)
    }
}

/// A switched connection that still lacks its request.
pub(super) struct HalfSwitched {
    upstream: Box<Upstream>,
    record: Record,
}

impl HalfSwitched {
    pub(super) fn with(self, request: Request) -> Switched {
        Switched {
            upstream: self.upstream,
            pending: Pending {
                request,
                record: self.record,
            },
        }
    }
}
