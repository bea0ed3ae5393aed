//! Where a service's requests can go now. Kept apart from routes, so that a pod that comes or goes moves little.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{ObjectName, ServiceId, WorkloadId};

/// All endpoints of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The service's id in this generation.
    pub service: ServiceId,
    /// Its name, for people.
    pub name: ObjectName,
    /// Service port → endpoints, sorted by address. Only endpoints that may be given new requests.
    pub ports: BTreeMap<u16, Vec<Endpoint>>,
}

/// One pod port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address to connect to.
    pub address: SocketAddr,
    /// The pod, when it is one of the mesh's workloads.
    pub workload: Option<WorkloadId>,
    /// Node it runs on; empty when unknown.
    pub node: String,
    /// The subset selectors (canonical text, see `policy::selector`) that this endpoint satisfies.
    pub subsets: Vec<String>,
}
