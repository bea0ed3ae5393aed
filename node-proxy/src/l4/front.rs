//! What a connection's destination is in the mesh: a service, one pod, the app behind us, or nothing we know.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use weft_decide::{Destination, Prepared};
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::pod::LocalPod;
use weft_model::protocol::{Protocol, SERVER_FIRST_PORTS};
use weft_model::reason::Reason;

use super::{Accepted, Direction};
use crate::config::FIRST_USE_TIMEOUT;
use crate::pods::Pod;
use crate::worker::Worker;

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A service's virtual address.
    Service {
        /// The service.
        id: ServiceId,
        /// The port that was dialled.
        port: u16,
    },
    /// One pod of the mesh, by its own address.
    Pod(WorkloadId),
    /// The app in the pod at which the connection arrived.
    App,
    /// Outside the mesh.
    Outside,
}

/// One captured connection, from the moment it is known. Cloned for what goes on beside it: copies of requests.
#[derive(Clone)]
pub(crate) struct Conn {
    pub(crate) worker: Rc<Worker>,
    /// Pod whose listener accepted.
    pub(crate) pod: Arc<Pod>,
    /// The same pod in the tables.
    pub(crate) local: Arc<LocalPod>,
    pub(crate) direction: Direction,
    /// Client.
    pub(crate) peer: SocketAddr,
    /// Where it wanted to go.
    pub(crate) destination: SocketAddr,
    pub(crate) front: Front,
    /// What the destination port declares.
    pub(crate) protocol: Protocol,
    /// The client as a workload, when the index knows it.
    pub(crate) source: Option<WorkloadId>,
}

impl Conn {
    /// Whether the client should come again elsewhere once it is answered: to another proxy, because this one drains, or
    /// past us, because the pod is released. A connection that never rested would hold either back until its deadline.
    pub(crate) fn is_leaving(&self) -> bool {
        self.worker.draining() || self.pod.is_releasing()
    }
}

impl Front {
    /// Looks the destination up, waiting once for tables that are on their way.
    pub(crate) async fn resolve(
        accepted: &Accepted,
        peer: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Conn, Reason> {
        let worker = &accepted.worker;
        let local = local_pod(worker, &accepted.pod.uid).await?;
        let (front, protocol) = match accepted.direction {
            Direction::Inbound => (Self::App, inbound_protocol(&local, destination.port())),
            Direction::Outbound => outbound(worker, destination).await?,
        };
        let source = match accepted.direction {
            Direction::Outbound => Some(local.id()),
            Direction::Inbound => known_source(worker, peer),
        };
        Ok(Conn {
            worker: Rc::clone(worker),
            pod: Arc::clone(&accepted.pod),
            local,
            direction: accepted.direction,
            peer,
            destination,
            front,
            protocol,
            source,
        })
    }
}

/// The pod's own data; a pod that is newer than the tables is waited for (contracts.md §3).
async fn local_pod(worker: &Worker, uid: &str) -> Result<Arc<LocalPod>, Reason> {
    wait_for(worker, Reason::NoWorkload, |tables| {
        tables.pod(uid).map(Arc::clone)
    })
    .await
}

async fn outbound(worker: &Worker, destination: SocketAddr) -> Result<(Front, Protocol), Reason> {
    wait_for(worker, Reason::TableNotReady, |tables| {
        match tables.destination(destination) {
            Destination::Service { service, port } => {
                // A port that the service does not have is the network's to answer, as without a mesh.
                let Some(known) = service.port(port) else {
                    return Some((Front::Outside, Protocol::Tcp));
                };
                Some((
                    Front::Service {
                        id: service.service.id,
                        port,
                    },
                    known.port.protocol,
                ))
            }
            Destination::Workload { id } => {
                let protocol = match tables.workload(id) {
                    Some(workload) => declared(workload, destination.port()),
                    None => {
                        worker.shared.subscriptions.want_workload(id);
                        None
                    }
                };
                Some((
                    Front::Pod(id),
                    protocol.unwrap_or_else(|| by_port(destination.port())),
                ))
            }
            Destination::Outside => Some((Front::Outside, Protocol::Tcp)),
            Destination::Missing(id) => {
                worker.shared.subscriptions.want_service(id);
                None
            }
        }
    })
    .await
}

/// Asks the tables until they answer, at most `FIRST_USE_TIMEOUT`.
pub(crate) async fn wait_for<T>(
    worker: &Worker,
    otherwise: Reason,
    ask: impl Fn(&Prepared) -> Option<T>,
) -> Result<T, Reason> {
    if let Some(answer) = ask(&worker.tables()) {
        return Ok(answer);
    }
    let deadline = Instant::now() + FIRST_USE_TIMEOUT;
    let mut changes = worker.shared.tables.watch();
    loop {
        if let Some(answer) = ask(&worker.tables()) {
            return Ok(answer);
        }
        match timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(otherwise),
        }
    }
}

/// The client of an inbound connection; its labels are asked for early, because the record will want them.
fn known_source(worker: &Worker, peer: SocketAddr) -> Option<WorkloadId> {
    let tables = worker.tables();
    let id = tables.workload_at(peer.ip())?;
    if tables.workload(id).is_none() {
        worker.shared.subscriptions.want_workload(id);
    }
    Some(id)
}

fn inbound_protocol(local: &LocalPod, port: u16) -> Protocol {
    declared(&local.workload, port).unwrap_or_else(|| by_port(port))
}

/// What the services of a workload declare for one of its ports.
fn declared(workload: &weft_model::workload::Workload, port: u16) -> Option<Protocol> {
    let mut ports = workload
        .services
        .iter()
        .filter(|membership| membership.target_port == port);
    ports.next().map(|membership| membership.protocol)
}

fn by_port(port: u16) -> Protocol {
    if SERVER_FIRST_PORTS.contains(&port) {
        Protocol::ServerFirst
    } else {
        Protocol::Detect
    }
}
