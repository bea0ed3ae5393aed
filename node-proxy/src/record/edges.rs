//! From "who called whom" in ids to metric cells, found once per worker and table version.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::HeaderValue;
use weft_decide::Prepared;
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::workload::Workload;
use weft_observe::{Edge, EdgeKey, Peer, Protocol, Reporters, RequestIds, Security, ServiceLabels};

use super::{changed_before, labels_deadline};
use crate::worker::Worker;

/// Which service an edge is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ServiceRef {
    /// None: a pod that no service reaches by this port.
    None,
    /// This one.
    Id(ServiceId),
    /// The destination workload's membership at this position.
    Member(u16),
    /// Outside the mesh.
    Passthrough,
}

/// An edge by the ids of one table version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EdgeId {
    pub(crate) source: Option<WorkloadId>,
    pub(crate) destination: Option<WorkloadId>,
    pub(crate) service: ServiceRef,
    pub(crate) http: bool,
    pub(crate) reporters: Reporters,
}

/// One worker's memory of edges, and its source of request ids.
pub(crate) struct Edges {
    version: Cell<u64>,
    known: RefCell<HashMap<EdgeId, Arc<Edge>, RandomState>>,
    ids: RefCell<RequestIds>,
}

impl Edges {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            version: Cell::new(0),
            known: RefCell::default(),
            ids: RefCell::new(RequestIds::new(seed)),
        }
    }

    /// A new `x-request-id`.
    pub(crate) fn request_id(&self) -> HeaderValue {
        let id = self.ids.borrow_mut().next_id();
        // Hex digits and dashes are always a valid value.
        HeaderValue::from_bytes(id.as_bytes())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }

    /// The edge's cells; none while labels are missing.
    pub(crate) fn known(&self, worker: &Worker, id: EdgeId) -> Option<Arc<Edge>> {
        let version = worker.shared.tables.version();
        if self.version.replace(version) != version {
            self.known.borrow_mut().clear();
        }
        if let Some(edge) = self.known.borrow().get(&id) {
            return Some(Arc::clone(edge));
        }
        let tables = worker.tables();
        let complete = [id.source, id.destination]
            .into_iter()
            .flatten()
            .all(|peer| tables.workload(peer).is_some());
        if !complete {
            for peer in [id.source, id.destination].into_iter().flatten() {
                if tables.workload(peer).is_none() {
                    worker.shared.subscriptions.want_workload(peer);
                }
            }
            return None;
        }
        let edge = self.now(worker, id);
        self.known.borrow_mut().insert(id, Arc::clone(&edge));
        Some(edge)
    }

    /// The edge's cells with the labels that are here; what is missing is `unknown`.
    pub(crate) fn now(&self, worker: &Worker, id: EdgeId) -> Arc<Edge> {
        worker.shard.edge(&key(&worker.tables(), id))
    }
}

/// Waits until the labels of both peers are here or it has taken too long.
pub(crate) async fn wait_for_labels(worker: &Worker, id: EdgeId) {
    let deadline = labels_deadline();
    while worker.edges.known(worker, id).is_none() && changed_before(worker, deadline).await {}
}

fn key(tables: &Prepared, id: EdgeId) -> EdgeKey {
    let workload = |peer: Option<WorkloadId>| peer.and_then(|id| tables.workload(id));
    let destination = workload(id.destination);
    EdgeKey {
        source: peer(workload(id.source)),
        destination: peer(destination),
        service: service(tables, destination, id.service),
        protocol: if id.http {
            Protocol::Http
        } else {
            Protocol::Tcp
        },
        security: Security::None,
        reporters: id.reporters,
    }
}

fn peer(workload: Option<&Arc<Workload>>) -> Arc<Peer> {
    Arc::new(workload.map_or_else(Peer::unknown, |workload| Peer::of(workload)))
}

fn service(
    tables: &Prepared,
    destination: Option<&Arc<Workload>>,
    service: ServiceRef,
) -> Arc<ServiceLabels> {
    let labels = match service {
        ServiceRef::None => None,
        ServiceRef::Passthrough => Some(ServiceLabels::passthrough()),
        ServiceRef::Id(id) => tables.service(id).ok().map(|known| {
            let service = &known.service;
            ServiceLabels::new(&service.host, &service.name)
        }),
        ServiceRef::Member(index) => destination
            .and_then(|workload| workload.services.get(usize::from(index)))
            .map(|membership| ServiceLabels::of_member(&membership.service)),
    };
    Arc::new(labels.unwrap_or_else(ServiceLabels::unknown))
}
