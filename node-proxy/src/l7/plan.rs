//! What is to be done with a request: the tables' answer, turned into a plan that the exchange carries out.
//!
//! Everything here is decided before a byte goes upstream and from one table version. Only a captured pod's outbound
//! requests to a service see routes; a request to a pod's own address and one that arrives for the app do not.

use std::sync::Arc;

use http::header::{EXPECT, HeaderName, HeaderValue, LOCATION, TE};
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::time::Instant;
use weft_decide::cors::{Grant, Verdict};
use weft_decide::{
    Choice, Prepared, PreparedAction, PreparedBackend, PreparedMatch, PreparedRule, RequestView,
};
use weft_h1::{Framing, RequestHead};
use weft_model::id::ServiceId;
use weft_model::reason::Reason;
use weft_model::target::RequestTarget;

use super::target::Target;
use crate::l4::front::{self, Conn, Front};

/// Identifies a request from hop to hop.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request on its way through, without its body.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: RequestTarget,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) started: Instant,
    /// Path as the client sent it, when a rule rewrote it and the log wants it.
    pub(crate) original_path: Option<String>,
}

impl Request {
    /// Takes a head over and gives the request what every request has: an id.
    pub(crate) fn new(conn: &Conn, head: RequestHead) -> Self {
        let RequestHead {
            method,
            mut target,
            version,
            mut headers,
            framing,
            keep_alive,
            expect_continue,
            upgrade,
            te_trailers,
        } = head;
        if !headers.contains_key(REQUEST_ID) {
            headers.insert(REQUEST_ID, conn.worker.edges.request_id());
        }
        if expect_continue {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        if te_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if target.authority().is_empty() {
            // HTTP/1.0 without a Host: the address that was dialled is the only name there is.
            let _ = target.set_authority(&conn.destination.to_string());
        }
        let started = Instant::now();
        Self {
            method,
            target,
            version,
            headers,
            framing,
            keep_alive,
            expect_continue,
            upgrade,
            started,
            original_path: None,
        }
    }

    /// Whether sending it twice is the same as sending it once (RFC 9110 section 9.2.2).
    pub(crate) fn idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}

/// What the tables say to a request.
pub(crate) enum Decision<'t> {
    /// Send it there.
    Forward(Plan<'t>),
    /// Answer it.
    Answer(Answer),
    /// A service is named that is not here yet.
    Missing(ServiceId),
}

/// An answer of the proxy's own.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) route: Option<Arc<str>>,
}

impl Answer {
    /// The answer that a reason stands for; `object` names what caused it.
    pub(crate) fn failure(reason: Reason, object: &str) -> Self {
        let status =
            StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let body = format!("weft: {} ({object})\n", reason.details());
        Self {
            status,
            reason,
            headers: HeaderMap::new(),
            body: body.into_bytes(),
            route: None,
        }
    }
}

/// Where a request goes and under which rule.
pub(crate) struct Plan<'t> {
    /// What it was made from.
    pub(crate) tables: &'t Prepared,
    pub(crate) rule: Option<&'t PreparedRule>,
    matched: Option<&'t PreparedMatch>,
    backend: Option<&'t PreparedBackend>,
    pub(crate) target: Target<'t>,
    /// Says to pages of other origins that they may read the answer.
    grant: Option<Grant<'t>>,
}

/// Decides. `tables` stays pinned for the whole request.
pub(crate) fn decide<'t>(conn: &Conn, tables: &'t Prepared, request: &Request) -> Decision<'t> {
    if request.method == Method::CONNECT {
        return Decision::Answer(Answer {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..Answer::failure(Reason::BadRequest, "CONNECT is not carried inside HTTP")
        });
    }
    let Front::Service { id, port } = conn.front else {
        return match Target::of_connection(conn, tables) {
            Ok(target) => Decision::Forward(Plan::plain(tables, target)),
            Err(reason) => Decision::Answer(Answer::failure(reason, "destination")),
        };
    };
    let service = match tables.service(id) {
        Ok(service) => service,
        Err(missing) => return Decision::Missing(missing),
    };
    let workload = &conn.local.workload;
    let client = weft_decide::Client {
        namespace: &workload.pod.namespace,
        labels: &workload.labels,
    };
    let view = RequestView {
        method: &request.method,
        target: &request.target,
        headers: &request.headers,
        scheme: "http",
    };
    match weft_decide::route(service, port, &client, &view) {
        Choice::Implicit => {
            let target = Target::of_service(conn, service, port);
            Decision::Forward(Plan::plain(tables, target))
        }
        Choice::NoRoute => {
            let object = format!("no rule of {} matches this request", service.service.name);
            Decision::Answer(Answer::failure(Reason::NoRoute, &object))
        }
        Choice::Rule { rule, matched } => follow(conn, tables, request, (rule, matched), port),
    }
}

/// Follows a rule. Its CORS policy comes first and last: it answers preflights, and marks whatever else is answered.
fn follow<'t>(
    conn: &Conn,
    tables: &'t Prepared,
    request: &Request,
    (rule, matched): (&'t PreparedRule, Option<&'t PreparedMatch>),
    port: u16,
) -> Decision<'t> {
    let Some(cors) = &rule.cors else {
        return act(conn, tables, request, (rule, matched), port);
    };
    let grant = match cors.judge(&request.method, &request.headers) {
        Verdict::Silent => None,
        Verdict::Granted(grant) => Some(grant),
        Verdict::Preflight(headers) => {
            return Decision::Answer(Answer {
                status: StatusCode::OK,
                reason: Reason::DirectResponse,
                headers,
                body: Vec::new(),
                route: Some(Arc::clone(&rule.label)),
            });
        }
    };
    match act(conn, tables, request, (rule, matched), port) {
        Decision::Forward(plan) => Decision::Forward(Plan { grant, ..plan }),
        Decision::Answer(mut answer) => {
            if let Some(grant) = grant {
                grant.apply(&mut answer.headers);
            }
            Decision::Answer(answer)
        }
        missing @ Decision::Missing(_) => missing,
    }
}

/// Does what a rule says.
fn act<'t>(
    conn: &Conn,
    tables: &'t Prepared,
    request: &Request,
    (rule, matched): (&'t PreparedRule, Option<&'t PreparedMatch>),
    port: u16,
) -> Decision<'t> {
    match &rule.action {
        PreparedAction::Forward(_) => {
            let backend = match weft_decide::pick_backend(rule, conn.worker.random()) {
                Ok(backend) => backend,
                Err(reason) => {
                    return Decision::Answer(named(Answer::failure(reason, &rule.label), rule));
                }
            };
            match tables.service(backend.target.service) {
                Ok(service) => {
                    let target = Target::of_backend(conn, service, &backend.target, port);
                    Decision::Forward(Plan {
                        tables,
                        rule: Some(rule),
                        matched,
                        backend: Some(backend),
                        target,
                        grant: None,
                    })
                }
                Err(missing) => Decision::Missing(missing),
            }
        }
        PreparedAction::Direct(direct) => {
            let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
            let mut headers = HeaderMap::new();
            let _ = rule.response.apply(&mut headers);
            let (reason, body) = (Reason::DirectResponse, direct.body.clone());
            Decision::Answer(Answer {
                status,
                reason,
                headers,
                body,
                route: Some(Arc::clone(&rule.label)),
            })
        }
        PreparedAction::Redirect(redirect) => {
            match weft_decide::redirect(redirect, &request.target, matched, port, "http") {
                Ok((status, location)) => {
                    Decision::Answer(named(redirection(status, &location, rule), rule))
                }
                Err(reason) => Decision::Answer(named(Answer::failure(reason, &rule.label), rule)),
            }
        }
    }
}

fn redirection(status: StatusCode, location: &str, rule: &PreparedRule) -> Answer {
    let Ok(location) = HeaderValue::from_str(location) else {
        return Answer::failure(Reason::BadRequest, &rule.label);
    };
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, location);
    let _ = rule.response.apply(&mut headers);
    Answer {
        status,
        reason: Reason::DirectResponse,
        headers,
        body: Vec::new(),
        route: None,
    }
}

fn named(answer: Answer, rule: &PreparedRule) -> Answer {
    Answer {
        route: Some(Arc::clone(&rule.label)),
        ..answer
    }
}

/// Waits for a service that is used for the first time, and for what its routes name.
pub(crate) async fn wait(
    conn: &Conn,
    request: &Request,
    first: ServiceId,
) -> Result<Arc<Prepared>, Reason> {
    let worker = &conn.worker;
    worker.shared.subscriptions.want_service(first);
    front::wait_for(worker, Reason::TableNotReady, |tables| {
        match decide(conn, tables, request) {
            Decision::Missing(id) => {
                worker.shared.subscriptions.want_service(id);
                None
            }
            Decision::Forward(_) | Decision::Answer(_) => Some(worker.tables()),
        }
    })
    .await
}

impl<'t> Plan<'t> {
    /// A plan without a rule.
    fn plain(tables: &'t Prepared, target: Target<'t>) -> Self {
        Self {
            tables,
            rule: None,
            matched: None,
            backend: None,
            target,
            grant: None,
        }
    }

    /// The backend that was picked.
    pub(crate) fn backend(&self) -> Option<&'t PreparedBackend> {
        self.backend
    }

    /// Changes the request as rule and backend say, in Istio's order: rewrite, rule, backend.
    pub(crate) fn prepare(&self, request: &mut Request, keep_original: bool) -> Result<(), Reason> {
        let Some(rule) = self.rule else { return Ok(()) };
        if keep_original {
            request.original_path = Some(request.target.path_and_query().to_owned());
        }
        weft_decide::rewrite(&mut request.target, rule, self.matched)?;
        let backend = self.backend.map(|backend| &backend.request);
        for ops in std::iter::once(&rule.request).chain(backend) {
            if let Some(authority) = ops.apply(&mut request.headers) {
                request
                    .target
                    .set_authority(authority)
                    .map_err(|_| Reason::BadRequest)?;
            }
        }
        Ok(())
    }

    /// Changes the answer's headers: the backend's changes, then the rule's.
    pub(crate) fn dress(&self, headers: &mut HeaderMap) {
        let backend = self.backend.map(|backend| &backend.response);
        for ops in backend
            .into_iter()
            .chain(self.rule.map(|rule| &rule.response))
        {
            let _ = ops.apply(headers);
        }
        if let Some(grant) = &self.grant {
            grant.apply(headers);
        }
    }

    /// Whether an attempt could follow one that has sent some of the body: only then the body is kept. What the transport
    /// tries again by itself has sent nothing, but for a stale connection.
    pub(crate) fn keeps_body(&self, request: &Request) -> bool {
        let policy = self.rule.and_then(|rule| rule.retry.as_ref());
        request.idempotent() || policy.is_some_and(|retry| retry.attempts > 0)
    }

    /// The rule's name.
    pub(crate) fn route(&self) -> Option<Arc<str>> {
        self.rule.map(|rule| Arc::clone(&rule.label))
    }

    /// The answer for a failure under this plan.
    pub(crate) fn failure(&self, reason: Reason) -> Answer {
        let object = self.rule.map_or("no route", |rule| &rule.label);
        let mut answer = Answer {
            route: self.route(),
            ..Answer::failure(reason, object)
        };
        if let Some(grant) = &self.grant {
            grant.apply(&mut answer.headers);
        }
        answer
    }

    /// The answer for a failure that the rule makes on purpose.
    pub(crate) fn injected(&self, status: u16) -> Answer {
        let answer = self.failure(Reason::FaultInjected);
        Answer {
            status: StatusCode::from_u16(status).unwrap_or(answer.status),
            ..answer
        }
    }
}
