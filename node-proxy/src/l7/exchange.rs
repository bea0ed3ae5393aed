//! One request, from its head to its record. Read this top to bottom: it is the whole life of a request.
//!
//! decide → answer | (attempt … retry) → deliver → settle both connections → record. Every way out passes `record`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;

use http::{Method, StatusCode, Version};
use tokio::time::{Instant, sleep};
use weft_decide::retry::{self, End, Outcome};
use weft_decide::timeout;
use weft_h1::{Connection, Framing, Limits, RequestHead, ResponseHead};
use weft_model::reason::Reason;
use weft_model::route::Fault;

use super::attempt::{Failed, Sending, attempt};
use super::body::Body;
use super::forward::{Downward, Upward, forward};
use super::mirror;
use super::plan::{self, Answer, Decision, Plan, Request};
use super::pump::{Pump, Sink};
use super::replay::RequestBody;
use super::respond::{ClientHalf, Responder};
use super::server::{Client, Next};
use super::settle::{keep_upstream, keeps, settle};
use super::upgrade::Switched;
use super::upstream::Upstream;
use crate::l4::Direction;
use crate::l4::front::Conn;
use crate::l4::leg;
use crate::net::buffer::BufferPool;
use crate::net::deadline::Deadline;
use crate::net::reset_by_peer;
use crate::record::{self, Pending, Reached, Record};

/// Carries one request of a client connection.
pub(crate) async fn exchange(conn: &Conn, client: &mut Client, head: RequestHead) -> Next {
    let request = Request::new(conn, head);
    let first = conn.worker.tables();
    let later;
    let decision = match plan::decide(conn, &first, &request) {
        Decision::Missing(missing) => match plan::wait(conn, &request, missing).await {
            Ok(tables) => {
                later = tables;
                plan::decide(conn, &later, &request)
            }
            Err(reason) => Decision::Answer(Answer::failure(reason, "first use of this service")),
        },
        decision => decision,
    };
    match decision {
        Decision::Forward(plan) => carry(conn, client, request, plan).await,
        Decision::Answer(answer) => answer_locally(conn, client, &request, answer).await,
        Decision::Missing(_) => {
            let answer = Answer::failure(Reason::TableNotReady, "the service was withdrawn");
            answer_locally(conn, client, &request, answer).await
        }
    }
}

/// An upstream connection that has answered.
struct Answered {
    upstream: Box<Upstream>,
    head: ResponseHead,
    pump: Pump,
    reached: Reached,
    /// Keeps the request counted on the endpoint until it is done.
    _chosen: super::target::Chosen,
}

/// What earlier attempts of a request have shown.
#[derive(Default)]
struct Past {
    /// Endpoints that were tried.
    avoid: Vec<SocketAddr>,
    /// The last one met a connection that its peer had closed. Where one is, others are: all of a proxy that was killed
    /// lie in the pool, and a request must not try them one by one until its attempts are used up.
    stale: bool,
}

/// How the attempts of a request ended.
struct Tried {
    end: Result<Answered, Failed>,
    /// Last endpoint that was tried.
    reached: Option<Reached>,
    /// Whether the policy's retries were used up.
    exhausted: bool,
}

/// Forwards a request: attempts until one counts, then the answer.
async fn carry(conn: &Conn, client: &mut Client, mut request: Request, plan: Plan<'_>) -> Next {
    let logged = record::logs(conn);
    if let Err(reason) = plan.prepare(&mut request, logged) {
        return answer_locally(conn, client, &request, plan.failure(reason)).await;
    }
    let Client {
        stream,
        reader,
        writer,
        deadline,
        limits,
    } = client;
    let pool = &conn.worker.buffers;
    let source = Body::after_head(stream, reader, pool, request.framing, limits);
    let tee = mirror::start(conn, &plan, &request);
    let mut body = RequestBody::new(source, plan.keeps_body(&request)).teed(tee);
    let mut half = ClientHalf { stream, writer };
    let moved = Cell::new(request.started);
    let cx = Cx {
        conn,
        request: &request,
        plan: &plan,
        limits,
        deadline,
        moved: &moved,
    };
    let tried = cx.attempts(&mut body, &mut half).await;
    let (record, next) = match tried.end {
        Ok(answered) if answered.head.status == StatusCode::SWITCHING_PROTOCOLS => {
            return cx
                .switch(answered, &mut half)
                .await
                .map_or(Next::Reset, |switched| {
                    Next::Switched(Box::new(switched.with(request)))
                });
        }
        Ok(answered) => cx.deliver(answered, body, half, tried.exhausted).await,
        Err(failed) => {
            cx.fail(failed, tried.reached, tried.exhausted, body, half)
                .await
        }
    };
    record::request(conn, &request, &record);
    next
}

/// What every step of one forwarded request needs.
struct Cx<'a> {
    conn: &'a Conn,
    request: &'a Request,
    plan: &'a Plan<'a>,
    limits: &'a Limits,
    deadline: &'a Deadline,
    /// When bytes of a body last moved.
    moved: &'a Cell<Instant>,
}

impl Cx<'_> {
    fn pool(&self) -> &BufferPool {
        &self.conn.worker.buffers
    }

    /// Whether the endpoint's own proxy says that it could not connect to the application: a pod that is about to end has
    /// closed its port, and its proxy answers for it. The application has seen nothing of the request then, just as if this
    /// proxy had been the one that could not connect.
    ///
    /// Only a proxy's word counts, and between this one and a captured pod of which it is not the proxy there always is
    /// one, which drops what the application says. An application's own word would have its requests repeated.
    fn is_unreached(&self, end: &Result<Answered, Failed>) -> bool {
        let Ok(answered) = end else { return false };
        let said = answered.head.reason.as_ref();
        let workload = answered.reached.workload;
        said.is_some_and(|reason| reason == Reason::UpstreamConnect.details())
            && self.conn.direction == Direction::Outbound
            && !answered.reached.one_pass
            && workload
                .and_then(|id| self.plan.tables.workload(id))
                .is_some_and(|workload| workload.captured)
    }

    /// Tries until an outcome counts.
    async fn attempts(&self, body: &mut RequestBody<'_>, client: &mut ClientHalf<'_>) -> Tried {
        let policy = self.plan.rule.and_then(|rule| rule.retry.as_ref());
        let mut past = Past::default();
        let mut reached = None;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let end = self.limited(body, client, &past, &mut reached).await;
            let seen = match &end {
                Ok(answered) => End::Response {
                    status: answered.head.status.as_u16(),
                    grpc: None,
                },
                Err(Failed::Upstream(reason)) => End::Failed(*reason),
                Err(Failed::Injected(status)) => End::Response {
                    status: *status,
                    grpc: None,
                },
                Err(Failed::Client) => {
                    return Tried {
                        end,
                        reached,
                        exhausted: false,
                    };
                }
            };
            let (body_replayable, random) = (body.replayable(), self.conn.worker.random());
            let next = |end| {
                let outcome = Outcome {
                    end,
                    body_replayable,
                    bytes_forwarded: 0,
                };
                retry::next(policy, attempt, &outcome, random)
            };
            let next = match next(seen) {
                retry::Next::Stop(retry::Stop::NotRetriable) if self.is_unreached(&end) => {
                    next(End::Failed(Reason::UpstreamConnect))
                }
                next => next,
            };
            let pause = match next {
                retry::Next::Retry { after } => after,
                retry::Next::Stop(why) => {
                    let exhausted = why == retry::Stop::Exhausted && policy.is_some();
                    return Tried {
                        end,
                        reached,
                        exhausted,
                    };
                }
            };
            if !timeout::fits(self.plan.rule, self.request.started.elapsed(), pause) {
                let end = end.map_err(|_| Failed::Upstream(Reason::RouteTimeout));
                return Tried {
                    end,
                    reached,
                    exhausted: false,
                };
            }
            past.avoid.extend(reached.map(|reached| reached.address));
            past.stale = matches!(end, Err(Failed::Upstream(Reason::StaleConnection)));
            if let Ok(answered) = end {
                recycle(self.conn, answered);
            }
            body.rewind();
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    /// One attempt within its limits.
    async fn limited(
        &self,
        body: &mut RequestBody<'_>,
        client: &mut ClientHalf<'_>,
        past: &Past,
        reached: &mut Option<Reached>,
    ) -> Result<Answered, Failed> {
        let limit = timeout::attempt(self.plan.rule, self.request.started.elapsed());
        match limit {
            Some(limit) => self.deadline.set_after(limit.left),
            None => self.deadline.clear(),
        }
        let stream = client.stream;
        let tried = pin!(async {
            tokio::select! {
                biased;
                end = self.once(body, client, past, reached) => end,
                () = reset_by_peer(stream) => Err(Failed::Client),
            }
        });
        match self.deadline.guard(tried).await {
            Ok(end) => end,
            Err(_) => Err(Failed::Upstream(
                limit.map_or(Reason::Idle, |limit| limit.reason),
            )),
        }
    }

    /// One attempt: endpoint, connection, request, head of the answer.
    async fn once(
        &self,
        body: &mut RequestBody<'_>,
        client: &mut ClientHalf<'_>,
        past: &Past,
        reached: &mut Option<Reached>,
    ) -> Result<Answered, Failed> {
        let conn = self.conn;
        if let Some(fault) = self.plan.rule.and_then(|rule| rule.fault.as_ref()) {
            Box::pin(self.inject(fault)).await?;
        }
        let chosen = self
            .plan
            .target
            .pick(&conn.worker, &past.avoid)
            .ok_or(Failed::Upstream(Reason::NoEndpoint))?;
        let leg = leg::leg(conn, chosen.address);
        let to = chosen.reached(leg.one_pass);
        *reached = Some(to);
        let pooled = match past.stale {
            true => None,
            false => conn.worker.upstreams.take(&leg.key),
        };
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => Upstream::connect(&conn.worker, &leg, self.plan.target.connect_timeout())
                .await
                .ok_or(Failed::Upstream(Reason::UpstreamConnect))?,
        };
        let request = self.request;
        let out = upstream.writer.out(self.pool());
        let upgrade = request.upgrade.as_ref();
        weft_h1::write_request_head(
            out,
            &request.method,
            &request.target,
            &request.headers,
            request.framing,
            upgrade,
        );
        let mut pump = Pump::new(request.framing);
        let sending = Sending {
            conn,
            method: &request.method,
            version: request.version,
            idempotent: request.idempotent(),
            limits: self.limits,
            moved: self.moved,
        };
        let head = attempt(&sending, &mut upstream, body, &mut pump, Some(client)).await?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS
            && (upgrade.is_none() || head.upgrade.is_none())
        {
            return Err(Failed::Upstream(Reason::UpstreamProtocol));
        }
        Ok(Answered {
            upstream,
            head,
            pump,
            reached: to,
            _chosen: chosen,
        })
    }

    /// Makes the failures that the rule asks for, with dice of their own for each attempt.
    async fn inject(&self, fault: &Fault) -> Result<(), Failed> {
        let falls = |share| weft_decide::mirror::falls(share, self.conn.worker.random());
        if let Some((share, pause)) = fault.delay
            && falls(share)
        {
            sleep(pause).await;
        }
        match fault.abort {
            Some((share, status)) if falls(share) => Err(Failed::Injected(status)),
            _ => Ok(()),
        }
    }

    /// Sends the answer to the client and leaves both connections in the state that what happened allows.
    async fn deliver(
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
            _chosen,
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
    async fn switch(
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
            ..Record::default()
        };
        Some(HalfSwitched { upstream, record })
    }

    /// Answers for an endpoint that did not, or gives up on a client that is gone.
    async fn fail(
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
            received,
            upstream,
            ..Record::local(&answer, sent)
        };
        (record, settle(keep, body, self.deadline).await)
    }
}

/// A switched connection that still lacks its request.
struct HalfSwitched {
    upstream: Box<Upstream>,
    record: Record,
}

impl HalfSwitched {
    fn with(self, request: Request) -> Switched {
        Switched {
            upstream: self.upstream,
            pending: Pending {
                request,
                record: self.record,
            },
        }
    }
}

/// Answers without asking anybody, and makes sure that the request's body is never taken for a request.
async fn answer_locally(
    conn: &Conn,
    client: &mut Client,
    request: &Request,
    answer: Answer,
) -> Next {
    let Client {
        stream,
        reader,
        writer,
        deadline,
        limits,
    } = client;
    let pool = &conn.worker.buffers;
    let body = Body::after_head(stream, reader, pool, request.framing, limits);
    let body = RequestBody::new(body, false);
    let keep = keeps(conn, request, &body);
    let half = ClientHalf { stream, writer };
    let mut responder = Responder::half(conn, half, deadline, request.version, keep);
    let sent = responder
        .local(&answer, request.method == Method::HEAD)
        .await;
    record::request(conn, request, &Record::local(&answer, sent));
    settle(keep, body, deadline).await
}

/// Puts a connection back after an answer that is not used, when all of it is here already; else it is closed.
fn recycle(conn: &Conn, answered: Answered) {
    let Answered {
        mut upstream,
        head,
        pump,
        ..
    } = answered;
    let here = match head.framing {
        Framing::None => true,
        Framing::Length(length) if upstream.reader.available().len() as u64 == length => {
            upstream.reader.consume(usize::MAX);
            true
        }
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => false,
    };
    if here && head.keep_alive && pump.is_done(&upstream.writer) {
        keep_upstream(conn, upstream);
    }
}
