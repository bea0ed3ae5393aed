//! One request, from its head to its record. Read this top to bottom: it is the whole life of a request.
//!
//! decide → answer | attempts → deliver | switch | fail → settle both connections → record. Every way out passes `record`.
//! Each step is one call from here; what it does in detail has a room of its own (`plan`, `attempts`, `deliver`, `settle`).

use std::cell::Cell;

use http::{Method, StatusCode};
use tokio::time::Instant;
use weft_h1::{Limits, RequestHead};
use weft_model::reason::Reason;

use super::body::Body;
use super::mirror;
use super::plan::{self, Answer, Decision, Plan, Request};
use super::replay::RequestBody;
use super::respond::{ClientHalf, Responder};
use super::server::{Client, Next};
use super::settle::{keeps, settle};
use crate::l4::front::Conn;
use crate::net::buffer::BufferPool;
use crate::net::deadline::Deadline;
use crate::record::{self, Record};

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
        delayed: Cell::new(false),
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
pub(super) struct Cx<'a> {
    pub(super) conn: &'a Conn,
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan<'a>,
    pub(super) limits: &'a Limits,
    pub(super) deadline: &'a Deadline,
    /// When bytes of a body last moved.
    pub(super) moved: &'a Cell<Instant>,
    /// Whether an attempt was held up because the rule asks for it.
    pub(super) delayed: Cell<bool>,
}

impl Cx<'_> {
    pub(super) fn pool(&self) -> &BufferPool {
        &self.conn.worker.buffers
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
