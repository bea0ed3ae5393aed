//! The node's tables, prepared for deciding: immutable, shared by all workers, replaced as a whole.
//!
//! Building takes over every part whose table entry did not change, so one changed route costs one route. What the
//! index names and the tables do not hold yet is `Missing`, never "outside the mesh" (contracts.md §5).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::{HashMap, HashMapExt};
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::pod::LocalPod;
use weft_model::table::Tables;
use weft_model::workload::Workload;

use crate::address::{AddressMap, canonical};
use crate::policy::{PreparedPolicy, Problem};
use crate::service::{PreparedService, Source, StateRegistry};

/// One generation of tables, ready to decide on.
#[derive(Debug)]
pub struct Prepared {
    generation: u64,
    pods: HashMap<String, Local>,
    services: HashMap<ServiceId, Arc<PreparedService>>,
    workloads: HashMap<WorkloadId, Arc<Workload>>,
    virtual_addresses: Arc<AddressMap>,
    pod_addresses: Arc<AddressMap>,
    defaults: Arc<PreparedPolicy>,
    states: Arc<Mutex<StateRegistry>>,
}

/// A local pod and its workload, which needs an `Arc` of its own to be handed out like any other.
#[derive(Debug)]
struct Local {
    pod: Arc<LocalPod>,
    workload: Arc<Workload>,
}

/// Whom an original destination address belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'t> {
    /// A service's virtual address. The port may be one that the service does not have (`service.port(port)` is none).
    Service {
        /// The service.
        service: &'t Arc<PreparedService>,
        /// Port that was dialled.
        port: u16,
    },
    /// A pod of the mesh, dialled by its own address.
    Workload {
        /// Its id; `Prepared::workload` may not have it yet.
        id: WorkloadId,
    },
    /// Not in the index: outside the mesh, pass through.
    Outside,
    /// In the index, not loaded yet: subscribe and wait.
    Missing(ServiceId),
}

impl Prepared {
    /// Prepares `tables`; `previous` gives what did not change and the live state of endpoints.
    #[must_use]
    pub fn build(previous: Option<&Self>, tables: &Tables, generation: u64) -> Self {
        let states = previous.map_or_else(Arc::default, |old| Arc::clone(&old.states));
        let defaults = previous.map_or_else(Arc::default, |old| Arc::clone(&old.defaults));
        let pods = local_pods(previous, tables);
        let mut workloads: HashMap<WorkloadId, Arc<Workload>> = pods
            .values()
            .map(|local| (local.workload.id, Arc::clone(&local.workload)))
            .collect();
        workloads.extend(
            tables
                .workloads
                .iter()
                .map(|(id, workload)| (*id, Arc::clone(workload))),
        );
        let addresses = |new: AddressMap, old: Option<&Arc<AddressMap>>| match old {
            Some(old) if **old == new => Arc::clone(old),
            _ => Arc::new(new),
        };
        Self {
            generation,
            services: services(previous, tables, &defaults, &states),
            workloads,
            virtual_addresses: addresses(
                AddressMap::new(tables.index.services.iter().map(|(ip, id)| (*ip, id.0))),
                previous.map(|old| &old.virtual_addresses),
            ),
            pod_addresses: addresses(
                AddressMap::new(tables.index.workloads.iter().map(|(ip, id)| (*ip, id.0))),
                previous.map(|old| &old.pod_addresses),
            ),
            pods,
            defaults,
            states,
        }
    }

    /// The generation that these tables are.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A pod bound to this node, by its Kubernetes uid.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&Arc<LocalPod>> {
        self.pods.get(uid).map(|local| &local.pod)
    }

    /// All pods bound to this node, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<LocalPod>> {
        self.pods.values().map(|local| &local.pod)
    }

    /// Whom an original destination belongs to. An IPv4-mapped IPv6 address is read as IPv4.
    #[must_use]
    pub fn destination(&self, address: SocketAddr) -> Destination<'_> {
        let address = canonical(address);
        if let Some(id) = self.virtual_addresses.get(address.ip()).map(ServiceId) {
            return match self.service(id) {
                Ok(service) => Destination::Service {
                    service,
                    port: address.port(),
                },
                Err(id) => Destination::Missing(id),
            };
        }
        match self.workload_at(address.ip()) {
            Some(id) => Destination::Workload { id },
            None => Destination::Outside,
        }
    }

    /// A service by its id in this generation.
    ///
    /// # Errors
    /// The same id where the service is not loaded: subscribe to it.
    pub fn service(&self, id: ServiceId) -> Result<&Arc<PreparedService>, ServiceId> {
        self.services.get(&id).ok_or(id)
    }

    /// All loaded services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<PreparedService>> {
        self.services.values()
    }

    /// A workload by its id in this generation; none where it is not loaded.
    #[must_use]
    pub fn workload(&self, id: WorkloadId) -> Option<&Arc<Workload>> {
        self.workloads.get(&id)
    }

    /// The workload that owns an address, loaded or not.
    #[must_use]
    pub fn workload_at(&self, address: IpAddr) -> Option<WorkloadId> {
        self.pod_addresses.get(address).map(WorkloadId)
    }

    /// What the policies ask for that this node cannot honour, to be logged once per generation.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.services
            .values()
            .flat_map(|service| &service.policy.problems)
    }
}

fn local_pods(previous: Option<&Prepared>, tables: &Tables) -> HashMap<String, Local> {
    let mut pods = HashMap::with_capacity(tables.pods.len());
    for (uid, pod) in &tables.pods {
        let before = previous
            .and_then(|old| old.pods.get(uid))
            .filter(|old| Arc::ptr_eq(&old.pod, pod));
        let workload = before.map_or_else(
            || Arc::new(pod.workload.clone()),
            |old| Arc::clone(&old.workload),
        );
        pods.insert(
            uid.clone(),
            Local {
                pod: Arc::clone(pod),
                workload,
            },
        );
    }
    pods
}

fn services(
    previous: Option<&Prepared>,
    tables: &Tables,
    defaults: &Arc<PreparedPolicy>,
    states: &Mutex<StateRegistry>,
) -> HashMap<ServiceId, Arc<PreparedService>> {
    // Nothing can panic while the lock is held; a poisoned registry would still be whole.
    let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
    let mut services = HashMap::with_capacity(tables.services.len());
    for (id, service) in &tables.services {
        let source = Source {
            endpoints: tables.endpoints.get(id).cloned(),
            policy: tables.policies.get(id).cloned(),
        };
        let before = previous.and_then(|old| old.services.get(id));
        let prepared =
            PreparedService::new(before, service, source, defaults, &mut |at| states.get(at));
        services.insert(*id, prepared);
    }
    states.clean();
    services
}

#[cfg(test)]
mod tests;
