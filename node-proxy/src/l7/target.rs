//! Which address a request or connection is sent to: the choice among a service's endpoints, or the one that was asked for.

use std::net::SocketAddr;
use std::time::Duration;

use weft_decide::{EndpointList, InFlight, Prepared, PreparedService};
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::policy::{Balance, TrafficPolicy};
use weft_model::reason::Reason;
use weft_model::route::BackendTarget;

use crate::l4::front::{Conn, Front};
use crate::record::Reached;
use crate::worker::Worker;

/// Where to.
pub(crate) enum Target<'t> {
    /// One of these.
    Endpoints {
        /// The service that owns them.
        service: ServiceId,
        /// Candidates.
        list: EndpointList<'t>,
        /// How to choose and connect.
        traffic: TrafficPolicy,
    },
    /// Exactly this.
    Address {
        /// Address.
        address: SocketAddr,
        /// Its pod, when it is one of the mesh.
        workload: Option<WorkloadId>,
    },
}

/// What was chosen.
pub(crate) struct Chosen {
    pub(crate) address: SocketAddr,
    pub(crate) workload: Option<WorkloadId>,
    pub(crate) service: Option<ServiceId>,
    /// Counts the request on the endpoint while it is carried.
    _in_flight: Option<InFlight>,
}

impl Chosen {
    /// For the record.
    pub(crate) fn reached(&self, one_pass: bool) -> Reached {
        Reached {
            address: self.address,
            workload: self.workload,
            service: self.service,
            one_pass,
        }
    }
}

impl<'t> Target<'t> {
    /// The target of a connection as it was dialled, with no route applied.
    pub(crate) fn of_connection(conn: &Conn, tables: &'t Prepared) -> Result<Self, Reason> {
        match conn.front {
            Front::Service { id, port } => {
                let service = tables.service(id).map_err(|_| Reason::TableNotReady)?;
                Ok(Self::of_service(conn, service, port))
            }
            Front::Pod(id) => Ok(Self::Address {
                address: conn.destination,
                workload: Some(id),
            }),
            Front::App => Ok(Self::Address {
                address: conn.destination,
                workload: Some(conn.local.id()),
            }),
            Front::Outside => Ok(Self::Address {
                address: conn.destination,
                workload: None,
            }),
        }
    }

    /// All endpoints of a service port.
    pub(crate) fn of_service(conn: &Conn, service: &'t PreparedService, port: u16) -> Self {
        let traffic = service
            .client(&conn.local.workload.pod.namespace)
            .traffic(None);
        Self::Endpoints {
            service: service.service.id,
            list: service.endpoints(port, None),
            traffic,
        }
    }

    /// The endpoints of a route's backend, or of who gets copies; `dialled` is the port that the client used.
    pub(crate) fn of_backend(
        conn: &Conn,
        service: &'t PreparedService,
        target: &BackendTarget,
        dialled: u16,
    ) -> Self {
        let port = target.port.unwrap_or_else(|| match service.ports() {
            [only] => only.port.port,
            _ => dialled,
        });
        let subset = target.subset.as_ref();
        let traffic = service
            .client(&conn.local.workload.pod.namespace)
            .traffic(subset.map(|subset| subset.name.as_str()));
        let list = service.endpoints(port, subset.map(|subset| subset.selector.as_str()));
        Self::Endpoints {
            service: service.service.id,
            list,
            traffic,
        }
    }

    /// Chooses, leaving out addresses that failed already if any other is left.
    pub(crate) fn pick(&self, worker: &Worker, avoid: &[SocketAddr]) -> Option<Chosen> {
        match self {
            Self::Address { address, workload } => Some(Chosen {
                address: *address,
                workload: *workload,
                service: None,
                _in_flight: None,
            }),
            Self::Endpoints {
                service,
                list,
                traffic,
            } => {
                let random = worker.random();
                let mut local = worker.balance.borrow_mut();
                let endpoint =
                    weft_decide::pick(*list, traffic.balance, &mut local, random, avoid)?;
                Some(Chosen {
                    address: endpoint.address,
                    workload: endpoint.workload,
                    service: Some(*service),
                    _in_flight: (traffic.balance == Balance::LeastRequest)
                        .then(|| endpoint.enter()),
                })
            }
        }
    }

    /// Limit of one connect.
    pub(crate) fn connect_timeout(&self) -> Duration {
        match self {
            Self::Endpoints { traffic, .. } => traffic.connect_timeout,
            Self::Address { .. } => weft_model::policy::DEFAULT_CONNECT_TIMEOUT,
        }
    }
}
