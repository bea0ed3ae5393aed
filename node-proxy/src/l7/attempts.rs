//! The attempts of a request: one after the other, until an outcome counts or there is no time or leave for another.
//!
//! What is tried again is the pure engine's word (`weft_decide::retry`); here is what it takes to obey: an endpoint that was
//! not tried yet, its connection, the deadline, and a body that can be sent once more.

use std::net::SocketAddr;
use std::pin::pin;

use http::StatusCode;
use tokio::time::sleep;
use weft_decide::retry::{self, End, Outcome};
use weft_decide::timeout;
use weft_h1::{Framing, ResponseHead};
use weft_model::reason::Reason;
use weft_model::retry::RetryPolicy;
use weft_model::route::Fault;

use super::attempt::{Failed, Sending, attempt};
use super::exchange::Cx;
use super::pump::Pump;
use super::replay::RequestBody;
use super::respond::ClientHalf;
use super::settle::keep_upstream;
use super::target::Chosen;
use super::upstream::Upstream;
use crate::l4::Direction;
use crate::l4::front::Conn;
use crate::l4::leg;
use crate::net::reset_by_peer;
use crate::record::Reached;

/// Reasons of another proxy's answer that mean the same to a rule's retries as if they were this proxy's own.
const NO_ANSWER: [Reason; 3] = [
    Reason::UpstreamConnect,
    Reason::UpstreamReset,
    Reason::UpstreamProtocol,
];

/// An upstream connection that has answered.
pub(super) struct Answered {
    pub(super) upstream: Box<Upstream>,
    pub(super) head: ResponseHead,
    /// What is left of the request on its way up.
    pub(super) pump: Pump,
    pub(super) reached: Reached,
    /// Keeps the request counted on the endpoint until it is done.
    pub(super) chosen: Chosen,
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
pub(super) struct Tried {
    pub(super) end: Result<Answered, Failed>,
    /// Last endpoint that was tried.
    pub(super) reached: Option<Reached>,
    /// Whether the policy's retries were used up.
    pub(super) exhausted: bool,
}

impl Cx<'_> {
    /// Tries until an outcome counts.
    pub(super) async fn attempts(
        &self,
        body: &mut RequestBody<'_>,
        client: &mut ClientHalf<'_>,
    ) -> Tried {
        let mut past = Past::default();
        let mut reached = None;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let end = self.limited(body, client, &past, &mut reached).await;
            let pause = match self.next(&end, attempt, body.replayable()) {
                Some(retry::Next::Retry { after }) => after,
                stopped => {
                    let used_up = Some(retry::Next::Stop(retry::Stop::Exhausted));
                    return Tried {
                        end,
                        reached,
                        exhausted: stopped == used_up && self.policy().is_some(),
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

    fn policy(&self) -> Option<&RetryPolicy> {
        self.plan.rule?.retry.as_ref()
    }

    /// What follows such an end; nothing at all where the client is gone.
    fn next(
        &self,
        end: &Result<Answered, Failed>,
        attempt: u32,
        body_replayable: bool,
    ) -> Option<retry::Next> {
        let seen = seen(end)?;
        let random = self.conn.worker.random();
        let next = |end| {
            let outcome = Outcome {
                end,
                body_replayable,
                bytes_forwarded: 0,
            };
            retry::next(self.policy(), attempt, &outcome, random)
        };
        Some(match next(seen) {
            retry::Next::Stop(retry::Stop::NotRetriable) => match self.relayed(end) {
                Some(reason) => next(End::Failed(reason)),
                None => retry::Next::Stop(retry::Stop::NotRetriable),
            },
            next => next,
        })
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
            chosen,
        })
    }

    /// Makes the failures that the rule asks for, with dice of their own for each attempt.
    async fn inject(&self, fault: &Fault) -> Result<(), Failed> {
        let falls = |share| weft_decide::mirror::falls(share, self.conn.worker.random());
        if let Some((share, pause)) = fault.delay
            && falls(share)
        {
            self.delayed.set(true);
            sleep(pause).await;
        }
        match fault.abort {
            Some((share, status)) if falls(share) => Err(Failed::Injected(status)),
            _ => Ok(()),
        }
    }

    /// What the endpoint's own proxy says of an application that gave it no answer: its port is closed already, as when a
    /// pod ends, or the connection broke. For the rule it is as if this proxy had been the one that met it.
    ///
    /// Only a proxy's word counts, and between this one and a captured pod of which it is not the proxy there always is
    /// one, which drops what the application says. An application's own word would have its requests repeated.
    fn relayed(&self, end: &Result<Answered, Failed>) -> Option<Reason> {
        let answered = end.as_ref().ok()?;
        let said = answered.head.reason.as_ref()?;
        let workload = self.plan.tables.workload(answered.reached.workload?)?;
        let from_its_proxy = self.conn.direction == Direction::Outbound
            && !answered.reached.one_pass
            && workload.captured;
        let mut known = NO_ANSWER.into_iter();
        known.find(|reason| from_its_proxy && *said == reason.details())
    }
}

/// An attempt's end as the retry engine sees it; nothing where the client is gone.
fn seen(end: &Result<Answered, Failed>) -> Option<End> {
    let answer = |status| End::Response { status, grpc: None };
    match end {
        Ok(answered) => Some(answer(answered.head.status.as_u16())),
        Err(Failed::Injected(status)) => Some(answer(*status)),
        Err(Failed::Upstream(reason)) => Some(End::Failed(*reason)),
        Err(Failed::Client) => None,
    }
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
