//! Copies of requests (the Gateway API's RequestMirror, Istio's `mirrors`): each is carried by a task of its own to one
//! endpoint, and what it answers is thrown away.
//!
//! Guarantee: the request itself never waits for a copy and never fails with one. The body is handed over in pieces as the
//! first endpoint takes them; a copy that lags too far behind, or comes when there are too many, is cut and counted.
//! Copies see the request as the rule has changed it, are not retried, and stand in no access log. As in Istio, they are
//! counted where they arrive and not where they come from.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use http::header::{EXPECT, HeaderMap};
use http::{Method, Version};
use tokio::time::{Instant, timeout};
use weft_h1::{Framing, Limits};
use weft_model::reason::Reason;
use weft_model::route::Mirror;
use weft_model::target::RequestTarget;

use super::attempt::{Failed, Sending, attempt};
use super::body::{Body, Chunk};
use super::forward::while_moving;
use super::plan::{Plan, Request};
use super::pump::{Pump, Sink, Stopped};
use super::settle::keep_upstream;
use super::target::{Chosen, Target};
use super::tee::{Feed, Tee, Teed};
use super::upstream::Upstream;
use crate::config::{MAX_MIRRORS, MIRROR_TIMEOUT};
use crate::l4::front::{Conn, Front};
use crate::l4::leg::{self, Leg};
use crate::record::{self, Reached};
use crate::worker::Worker;

/// One worker's copies.
#[derive(Default)]
pub(crate) struct Mirrors {
    /// Copies under way.
    running: Cell<usize>,
    /// Bytes of bodies that wait for them.
    pub(super) waiting: Cell<usize>,
}

/// How a copy ended; the words are the metric's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was answered.
    Answered,
    /// There was no endpoint, or it did not answer.
    Failed,
    /// Its body stopped: it lagged behind, or the request itself broke.
    Cut,
    /// Nothing moved for too long.
    Late,
    /// There were too many.
    Overflow,
}

impl Ended {
    fn words(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Late => "timeout",
            Self::Overflow => "overflow",
        }
    }
}

/// Sends the copies that the plan asks for; returns what hands the request's body over, if anybody wants it.
pub(crate) fn start(conn: &Conn, plan: &Plan<'_>, request: &Request) -> Option<Box<Tee>> {
    let rule = plan.rule?;
    // After a switch of protocols there is no request that could be copied.
    if request.upgrade.is_some() {
        return None;
    }
    let worker = &conn.worker;
    let mut feeds = Vec::new();
    for mirror in weft_decide::mirror::mirrors(rule, plan.backend()) {
        if !weft_decide::mirror::falls(mirror.share, worker.random()) {
            continue;
        }
        let copied = Copied::new(conn, plan, request, mirror);
        match copied {
            Ok((copied, feed)) => {
                feeds.extend(feed);
                let _ = worker.spawn_for(&conn.pod, move || copied.run());
            }
            Err(ended) => worker.shared.counters.mirrored(ended.words()),
        }
    }
    (!feeds.is_empty()).then(|| Box::new(Tee::new(feeds)))
}

/// Counts a copy while it is under way.
struct Running(Rc<Worker>);

impl Drop for Running {
    fn drop(&mut self) {
        let running = &self.0.mirrors.running;
        running.set(running.get().saturating_sub(1));
    }
}

/// A copy on its way.
struct Copied {
    conn: Conn,
    chosen: Chosen,
    method: Method,
    target: RequestTarget,
    headers: HeaderMap,
    framing: Framing,
    version: Version,
    body: Teed,
    started: Instant,
    _running: Running,
}

/// What came of a copy.
struct Answered {
    by: Reached,
    status: u16,
    sent: u64,
    received: u64,
}

impl Copied {
    fn new(
        conn: &Conn,
        plan: &Plan<'_>,
        request: &Request,
        mirror: &Mirror,
    ) -> Result<(Self, Option<Rc<Feed>>), Ended> {
        let worker = &conn.worker;
        let running = worker.mirrors.running.get();
        if running >= MAX_MIRRORS {
            return Err(Ended::Overflow);
        }
        let service = plan.tables.service(mirror.target.service).map_err(|id| {
            worker.shared.subscriptions.want_service(id);
            Ended::Failed
        })?;
        let dialled = match conn.front {
            Front::Service { port, .. } => port,
            Front::Pod(_) | Front::App | Front::Outside => conn.destination.port(),
        };
        let to = Target::of_backend(conn, service, &mirror.target, dialled);
        let chosen = to.pick(worker, &[]).ok_or(Ended::Failed)?;
        let mut target = request.target.clone();
        weft_decide::mirror::rename(mirror, &mut target).map_err(|_| Ended::Failed)?;
        let mut headers = request.headers.clone();
        // Nobody waits for leave to send a copy's body.
        headers.remove(EXPECT);
        let feed = (request.framing != Framing::None).then(|| Feed::new(Rc::clone(worker)));
        worker.mirrors.running.set(running + 1);
        let copied = Self {
            conn: conn.clone(),
            chosen,
            method: request.method.clone(),
            target,
            headers,
            framing: request.framing,
            version: request.version,
            body: Teed::new(feed.clone()),
            started: Instant::now(),
            _running: Running(Rc::clone(worker)),
        };
        Ok((copied, feed))
    }

    async fn run(mut self) {
        let moved = Cell::new(self.started);
        let deadline = crate::net::deadline::Deadline::new();
        let feed = self.body.feed();
        let result = {
            let carrying = pin!(self.carry(&moved));
            let carried = while_moving(&deadline, &moved, None, MIRROR_TIMEOUT, carrying);
            tokio::select! {
                biased;
                result = carried => result,
                () = cut(feed) => Err(Reason::ClientGone),
            }
        };
        let ended = match result {
            Ok(_) => Ended::Answered,
            Err(Reason::ClientGone) => Ended::Cut,
            Err(Reason::Idle) => Ended::Late,
            Err(_) => Ended::Failed,
        };
        self.conn.worker.shared.counters.mirrored(ended.words());
        if let Ok(answered) = result {
            let authority = self.target.authority();
            let outcome = (answered.status, self.started.elapsed());
            let bytes = (answered.sent, answered.received);
            record::mirrored(&self.conn, authority, &answered.by, outcome, bytes);
        }
    }

    /// One try; another with a new connection where a pooled one was closed before it saw a byte of ours.
    async fn carry(&mut self, moved: &Cell<Instant>) -> Result<Answered, Reason> {
        let leg = leg::leg(&self.conn, self.chosen.address);
        let pooled = self.conn.worker.upstreams.take(&leg.key);
        if let Some(upstream) = pooled {
            match self.send(upstream, leg.one_pass, moved).await {
                Err(Reason::StaleConnection) if self.framing == Framing::None => {}
                ended => return ended,
            }
        }
        let upstream = self.connect(&leg).await.ok_or(Reason::UpstreamConnect)?;
        self.send(upstream, leg.one_pass, moved).await
    }

    async fn connect(&self, leg: &Leg) -> Option<Box<Upstream>> {
        Upstream::connect(&self.conn.worker, leg, MIRROR_TIMEOUT).await
    }

    async fn send(
        &mut self,
        mut upstream: Box<Upstream>,
        one_pass: bool,
        moved: &Cell<Instant>,
    ) -> Result<Answered, Reason> {
        let Self {
            conn,
            chosen,
            method,
            target,
            headers,
            framing,
            version,
            body,
            ..
        } = self;
        let pool = &conn.worker.buffers;
        let out = upstream.writer.out(pool);
        weft_h1::write_request_head(out, method, target, headers, *framing, None);
        let mut pump = Pump::new(*framing);
        let limits = Limits::default();
        let sending = Sending {
            conn,
            method,
            version: *version,
            idempotent: method.is_idempotent(),
            limits: &limits,
            moved,
        };
        let head = attempt(&sending, &mut upstream, body, &mut pump, None)
            .await
            .map_err(|failed| match failed {
                Failed::Upstream(reason) => reason,
                Failed::Client | Failed::Injected(_) => Reason::ClientGone,
            })?;
        moved.set(Instant::now());
        let received = {
            let Upstream {
                stream,
                reader,
                writer,
                ..
            } = &mut *upstream;
            let mut content = Body::after_head(stream, reader, pool, head.framing, &limits);
            let mut sink = Sink {
                stream,
                writer,
                pool,
            };
            let rest = pin!(pump.run(body, &mut sink, moved));
            discard(&mut content, rest, moved).await?;
            content.received()
        };
        let whole = pump.is_done(&upstream.writer) && head.framing != Framing::UntilClose;
        if whole && head.keep_alive {
            keep_upstream(conn, upstream);
        }
        Ok(Answered {
            by: chosen.reached(one_pass),
            status: head.status.as_u16(),
            sent: pump.sent(),
            received,
        })
    }
}

/// Waits until what a copy's body comes along is cut; for ever where there is no body.
async fn cut(feed: Option<Rc<Feed>>) {
    match feed {
        Some(feed) => feed.was_cut().await,
        None => std::future::pending().await,
    }
}

/// Reads an answer to its end while the rest of the request still goes out; an answer that never ends is left after a while.
async fn discard(
    content: &mut Body<'_>,
    rest: std::pin::Pin<&mut impl Future<Output = Result<(), Stopped>>>,
    moved: &Cell<Instant>,
) -> Result<(), Reason> {
    let mut reading = pin!(async {
        loop {
            let count = match content.ready() {
                Ok(Chunk::Data(data)) => data.len(),
                Ok(Chunk::End(_)) => return Ok(()),
                Ok(Chunk::Wait) => match content.more().await {
                    Ok(()) => continue,
                    Err(_) => return Err(Reason::UpstreamReset),
                },
                Err(_) => return Err(Reason::UpstreamReset),
            };
            content.consume(count);
            moved.set(Instant::now());
            tokio::task::coop::consume_budget().await;
        }
    });
    tokio::select! {
        biased;
        read = &mut reading => return read,
        sent = rest => {
            if let Err(Stopped::Source) = sent {
                return Err(Reason::ClientGone);
            }
        }
    }
    timeout(MIRROR_TIMEOUT, reading)
        .await
        .unwrap_or(Err(Reason::Idle))
}
