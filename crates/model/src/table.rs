//! The tables of one node at one generation, and the compact index that names everything else.
//!
//! Invariant: an id that appears in a table is resolved in the same table or is listed in the index, therefore
//! "not here" can always be told apart from "does not exist" (contracts.md §5).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoints;
use crate::id::{ServiceId, WorkloadId};
use crate::pod::LocalPod;
use crate::policy::ServicePolicy;
use crate::service::Service;
use crate::workload::Workload;

/// Who owns an address. Always complete on every node.
///
/// Shared, because it is the one part that grows with the cluster and is in every copy of the tables; `Arc::make_mut`
/// changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Virtual address → service.
    pub services: Arc<BTreeMap<IpAddr, ServiceId>>,
    /// Pod address → workload. hostNetwork pods are left out: their address is the node's.
    pub workloads: Arc<BTreeMap<IpAddr, WorkloadId>>,
}

/// One service with all that its clients need; delivered and replaced in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// Address index of the whole mesh.
    pub index: Index,
    /// Every namespace of the cluster, and whether its pods are in the mesh unless they say otherwise themselves.
    pub namespaces: Arc<BTreeMap<String, bool>>,
    /// Pods bound to this node, by the uid that the container runtime knows.
    pub pods: BTreeMap<String, Arc<LocalPod>>,
    /// Services.
    pub services: BTreeMap<ServiceId, Arc<Service>>,
    /// Endpoints.
    pub endpoints: BTreeMap<ServiceId, Arc<Endpoints>>,
    /// Policies; a service without one has the default policy.
    pub policies: BTreeMap<ServiceId, Arc<ServicePolicy>>,
    /// Workloads.
    pub workloads: BTreeMap<WorkloadId, Arc<Workload>>,
}

/// What a node has asked for on first use; the operator sends nothing else but index and local pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest {
    /// Services, with their endpoints, policy, the services their routes name, and their endpoints' workloads.
    pub services: BTreeSet<ServiceId>,
    /// Workloads.
    pub workloads: BTreeSet<WorkloadId>,
}

impl Tables {
    /// The part of the whole mesh's tables that a node gets: index, its own pods, and what it asked for.
    #[must_use]
    pub fn slice(&self, node: &str, interest: &Interest) -> Self {
        let mut services = interest.services.clone();
        for id in &interest.services {
            if let Some(policy) = self.policies.get(id) {
                services.extend(referenced(policy));
            }
        }
        let mut workloads = interest.workloads.clone();
        for id in &services {
            if let Some(endpoints) = self.endpoints.get(id) {
                workloads.extend(
                    endpoints
                        .ports
                        .values()
                        .flatten()
                        .filter_map(|endpoint| endpoint.workload),
                );
            }
        }
        Self {
            index: self.index.clone(),
            namespaces: Arc::clone(&self.namespaces),
            pods: self
                .pods
                .iter()
                .filter(|(_, pod)| pod.workload.node == node)
                .map(pair)
                .collect(),
            services: pick(&self.services, &services),
            endpoints: pick(&self.endpoints, &services),
            policies: pick(&self.policies, &services),
            workloads: pick(&self.workloads, &workloads),
        }
    }
}

/// Services that the rules of a policy send to.
fn referenced(policy: &ServicePolicy) -> BTreeSet<ServiceId> {
    use crate::route::Action;
    std::iter::once(&policy.default)
        .chain(policy.by_namespace.values())
        .flat_map(|client| client.http.iter().flatten())
        .flat_map(|rule| {
            let backends = match &rule.action {
                Action::Forward(backends) => &backends[..],
                Action::Redirect(_) | Action::Direct(_) => &[],
            };
            let mirrors = backends.iter().flat_map(|backend| &backend.mirrors);
            let mirrors = rule.mirrors.iter().chain(mirrors);
            let targets = backends
                .iter()
                .filter_map(|backend| backend.target.as_ref().ok());
            targets.chain(mirrors.map(|mirror| &mirror.target))
        })
        .map(|target| target.service)
        .collect()
}

fn pair<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn pick<K: Ord + Copy, V>(all: &BTreeMap<K, Arc<V>>, wanted: &BTreeSet<K>) -> BTreeMap<K, Arc<V>> {
    wanted
        .iter()
        .filter_map(|key| all.get(key).map(|value| (*key, Arc::clone(value))))
        .collect()
}
