//! One record at the end of every request and connection: metrics and access log come from here and from nowhere else.
//!
//! Labels of a peer that the tables do not hold yet are waited for, at most a second and never by the request itself
//! (contracts.md §5); after that they are `unknown`.

mod edges;
mod log;
mod tcp;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout};
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::reason::Reason;
use weft_observe::{Metrics, Outcome};
use weft_service::metrics::Pieces;

use crate::config::LABELS_TIMEOUT;
use crate::l4::Direction;
use crate::l4::front::{Conn, Front};
use crate::l7::plan::{Answer, Request};
use crate::worker::Worker;

pub(crate) use edges::{EdgeId, Edges, ServiceRef};
pub(crate) use log::{AccessLogs, logs};
pub(crate) use tcp::{TcpRecord, tcp_failed};

/// How a request ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Status that the client got; 0 = none.
    pub(crate) status: u16,
    /// Why the proxy answered or gave up; none for an ordinary answer.
    pub(crate) reason: Option<Reason>,
    /// Whether retries were used up.
    pub(crate) exhausted: bool,
    /// Whether it was held up because its rule asks for it.
    pub(crate) delayed: bool,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    /// Where the request went.
    pub(crate) upstream: Option<Reached>,
    /// Name of the rule.
    pub(crate) route: Option<Arc<str>>,
    /// From the request's first byte to the answer's.
    pub(crate) upstream_time: Option<Duration>,
}

/// An endpoint that a request or connection was given to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) address: SocketAddr,
    pub(crate) workload: Option<WorkloadId>,
    pub(crate) service: Option<ServiceId>,
    pub(crate) one_pass: bool,
}

/// A request that is recorded later than its exchange ends.
pub(crate) struct Pending {
    pub(crate) request: Request,
    pub(crate) record: Record,
}

impl Record {
    /// An answer of the proxy's own.
    pub(crate) fn local(answer: &Answer, sent: u64) -> Self {
        let (status, route) = (answer.status.as_u16(), answer.route.clone());
        Self {
            status,
            reason: Some(answer.reason),
            sent,
            route,
            ..Self::default()
        }
    }

    /// Response flags: Envoy's words for the reason, for a delay that was asked for, and for retries that were used up. A
    /// delay is not told beside failures that it cannot have caused.
    pub(crate) fn flags(&self) -> &'static str {
        match self.outcome() {
            "-" if self.delayed => "DI",
            "FI" if self.delayed => "DI,FI",
            "UT" if self.delayed => "DI,UT",
            flags => flags,
        }
    }

    fn outcome(&self) -> &'static str {
        match (self.exhausted, self.reason) {
            (true, Some(Reason::UpstreamConnect)) => "UF,URX",
            (true, Some(Reason::UpstreamReset)) => "UC,URX",
            (true, Some(Reason::UpstreamProtocol)) => "UPE,URX",
            (true, Some(Reason::AttemptTimeout)) => "UT,URX",
            (true, _) => Reason::RetriesExhausted.flag(),
            (false, Some(reason)) => reason.flag(),
            (false, None) => "-",
        }
    }
}

/// Records a request.
pub(crate) fn request(conn: &Conn, request: &Request, record: &Record) {
    log::request(conn, request, record);
    let edge = edge_of(
        conn,
        request.target.authority(),
        record.upstream.as_ref(),
        true,
    );
    let outcome = Outcome {
        code: record.status,
        flags: record.flags(),
        grpc: None,
    };
    let micros = u64::try_from(request.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (received, sent) = (record.received, record.sent);
    with_edge(&conn.worker, edge, move |edge| {
        edge.request(outcome, micros, received, sent)
    });
}

/// Records bytes that were not even a request; they reached no workload and name none.
pub(crate) fn refused(conn: &Conn, status: StatusCode, reason: Reason, sent: u64) {
    let edge = edge_of(conn, "", None, true);
    let outcome = Outcome {
        code: status.as_u16(),
        flags: reason.flag(),
        grpc: None,
    };
    with_edge(&conn.worker, edge, move |edge| {
        edge.request(outcome, 0, 0, sent)
    });
}

/// Records a copy of a request for the endpoint's side, where this proxy is that side too; else the endpoint's own proxy
/// does. As in Istio, the client's side counts no copies. `bytes`: of request and answer.
pub(crate) fn mirrored(
    conn: &Conn,
    authority: &str,
    reached: &Reached,
    (status, took): (u16, Duration),
    (received, sent): (u64, u64),
) {
    if !reached.one_pass {
        return;
    }
    let edge = EdgeId {
        reporters: weft_observe::Reporters::Destination,
        ..edge_of(conn, authority, Some(reached), true)
    };
    let outcome = Outcome {
        code: status,
        flags: "-",
        grpc: None,
    };
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    with_edge(&conn.worker, edge, move |edge| {
        edge.request(outcome, micros, received, sent)
    });
}

/// Whose cells count: from the connection, and from where it was sent.
fn edge_of(conn: &Conn, authority: &str, reached: Option<&Reached>, http: bool) -> EdgeId {
    let (destination, service, both) = match (conn.front, reached) {
        (Front::Outside, _) => (None, ServiceRef::Passthrough, false),
        (_, Some(reached)) => {
            let service = match reached.service {
                Some(id) => ServiceRef::Id(id),
                None => member(conn, reached.workload, reached.address.port(), authority),
            };
            (reached.workload, service, reached.one_pass)
        }
        (Front::Service { id, .. }, None) => (None, ServiceRef::Id(id), false),
        (Front::Pod(id), None) => (
            None,
            member(conn, Some(id), conn.destination.port(), authority),
            false,
        ),
        (Front::App, None) => {
            let id = conn.local.id();
            (
                Some(id),
                member(conn, Some(id), conn.destination.port(), authority),
                false,
            )
        }
    };
    let reporters = match (conn.direction, both) {
        (Direction::Inbound, _) => weft_observe::Reporters::Destination,
        (Direction::Outbound, true) => weft_observe::Reporters::Both,
        (Direction::Outbound, false) => weft_observe::Reporters::Source,
    };
    EdgeId {
        source: conn.source,
        destination,
        service,
        http,
        reporters,
    }
}

/// Which of a workload's services a request to one of its ports was meant for.
fn member(conn: &Conn, workload: Option<WorkloadId>, port: u16, authority: &str) -> ServiceRef {
    let Some(id) = workload else {
        return ServiceRef::None;
    };
    if id == conn.local.id() {
        return position(&conn.local.workload, port, authority);
    }
    conn.worker
        .tables()
        .workload(id)
        .map_or(ServiceRef::None, |workload| {
            position(workload, port, authority)
        })
}

fn position(workload: &weft_model::workload::Workload, port: u16, authority: &str) -> ServiceRef {
    let Some(found) = weft_decide::membership(workload, port, authority) else {
        return ServiceRef::None;
    };
    workload
        .services
        .iter()
        .position(|membership| std::ptr::eq(membership, found))
        .and_then(|index| u16::try_from(index).ok())
        .map_or(ServiceRef::None, ServiceRef::Member)
}

/// Writes to an edge now if its labels are here, else as soon as they are, at most `LABELS_TIMEOUT` from now.
fn with_edge(worker: &Rc<Worker>, id: EdgeId, write: impl Fn(&weft_observe::Edge) + 'static) {
    if let Some(edge) = worker.edges.known(worker, id) {
        return write(&edge);
    }
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        edges::wait_for_labels(&worker, id).await;
        write(&worker.edges.now(&worker, id));
    });
}

/// What `/metrics` appends: the request and connection series of all workers.
pub(crate) struct NodeScrape {
    metrics: Arc<Metrics>,
}

impl NodeScrape {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl weft_service::metrics::Scrape for NodeScrape {
    fn begin(&self) -> Box<dyn Pieces> {
        Box::new(RunningScrape(self.metrics.scrape(now_millis())))
    }
}

/// One scrape under way.
struct RunningScrape(weft_observe::Scrape);

impl Pieces for RunningScrape {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        self.0.next_piece(out)
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_millis() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A number that differs between processes and workers: request ids and dice begin with it.
pub(crate) fn seed(worker: usize) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_usize(worker);
    hasher.write_u64(now_millis());
    hasher.finish()
}

/// Waits until the tables have changed, at most until `deadline`.
pub(crate) async fn changed_before(worker: &Worker, deadline: Instant) -> bool {
    let mut changes = worker.shared.tables.watch();
    timeout(
        deadline.saturating_duration_since(Instant::now()),
        changes.changed(),
    )
    .await
    .is_ok_and(|seen| seen.is_ok())
}

/// When a wait for labels ends that begins now.
fn labels_deadline() -> Instant {
    Instant::now() + LABELS_TIMEOUT
}
