//! A service as requests meet it: its ports, the endpoints behind each, subsets as index lists, and live endpoint state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::HashMap;
use weft_model::endpoint::{Endpoint, Endpoints};
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::policy::ServicePolicy;
use weft_model::service::{Service, ServicePort};

use crate::address::canonical;
use crate::policy::{PreparedClient, PreparedPolicy};

/// One service with everything its clients need. Parts that did not change are shared between generations.
#[derive(Debug)]
pub struct PreparedService {
    /// The service.
    pub service: Arc<Service>,
    pub(crate) ports: Arc<[PreparedPort]>,
    pub(crate) policy: Arc<PreparedPolicy>,
    pub(crate) source: Source,
}

/// The table parts that a prepared service was made of: same pointers, nothing to prepare.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    pub(crate) policy: Option<Arc<ServicePolicy>>,
}

/// One port of a service and the endpoints behind it.
#[derive(Debug)]
pub struct PreparedPort {
    /// Number, name and declared protocol.
    pub port: ServicePort,
    key: u64,
    endpoints: Box<[Arc<PreparedEndpoint>]>,
    /// Canonical selector → indexes into `endpoints`.
    subsets: Box<[(String, Box<[u32]>)]>,
}

/// One pod port that can serve requests.
#[derive(Debug)]
pub struct PreparedEndpoint {
    /// Address to connect to.
    pub address: SocketAddr,
    /// The pod, when it is one of the mesh's workloads.
    pub workload: Option<WorkloadId>,
    /// Node it runs on; empty when unknown.
    pub node: Box<str>,
    /// What all workers know of it; kept across generations, shared by all services that list the address.
    pub state: Arc<EndpointState>,
}

/// Live facts of one address. Alone on its cache line: workers of different cores write to different endpoints.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct EndpointState {
    in_flight: AtomicU32,
}

impl EndpointState {
    /// Requests and connections that are being carried now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts one request on an endpoint until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<PreparedEndpoint>,
}

impl InFlight {
    /// The endpoint that serves the request.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<PreparedEndpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint
            .state
            .in_flight
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl PreparedEndpoint {
    /// Counts one more request until the guard is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            endpoint: Arc::clone(self),
        }
    }
}

/// Endpoints to choose from: all of a port, or those of a subset. A view that costs nothing to make.
#[derive(Clone, Copy, Debug)]
pub struct EndpointList<'t> {
    all: &'t [Arc<PreparedEndpoint>],
    chosen: Option<&'t [u32]>,
    key: u64,
}

impl<'t> EndpointList<'t> {
    /// A list of nothing.
    pub const EMPTY: EndpointList<'static> = EndpointList {
        all: &[],
        chosen: None,
        key: 0,
    };

    /// Number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chosen.map_or(self.all.len(), <[u32]>::len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint at a position below `len`.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&'t Arc<PreparedEndpoint>> {
        match self.chosen {
            None => self.all.get(at),
            Some(chosen) => self.all.get(*chosen.get(at)? as usize),
        }
    }

    /// All endpoints in order.
    pub fn iter(self) -> impl Iterator<Item = &'t Arc<PreparedEndpoint>> {
        (0..self.len()).filter_map(move |at| self.get(at))
    }

    /// Names the list (service, port, subset) for state that a worker keeps about it across generations.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }
}

impl PreparedService {
    /// The port with this number; none = the service does not have it.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&PreparedPort> {
        self.ports.iter().find(|port| port.port.port == number)
    }

    /// All ports in ascending order.
    #[must_use]
    pub fn ports(&self) -> &[PreparedPort] {
        &self.ports
    }

    /// Endpoints behind a port, narrowed by a subset's canonical selector; empty where there are none.
    #[must_use]
    pub fn endpoints(&self, port: u16, selector: Option<&str>) -> EndpointList<'_> {
        self.port(port)
            .map_or(EndpointList::EMPTY, |port| port.endpoints(selector))
    }

    /// The policy that clients of a namespace obey.
    #[must_use]
    pub fn client(&self, namespace: &str) -> &PreparedClient {
        self.policy.client(namespace)
    }
}

impl PreparedPort {
    /// Endpoints, narrowed by a subset's canonical selector; a selector that no endpoint satisfies gives none.
    #[must_use]
    pub fn endpoints(&self, selector: Option<&str>) -> EndpointList<'_> {
        let Some(selector) = selector else {
            return EndpointList {
                all: &self.endpoints,
                chosen: None,
                key: self.key,
            };
        };
        match self.subsets.iter().position(|(known, _)| known == selector) {
            Some(at) => EndpointList {
                all: &self.endpoints,
                chosen: self.subsets.get(at).map(|(_, indexes)| &**indexes),
                key: self.key | (at as u64 + 1),
            },
            None => EndpointList::EMPTY,
        }
    }

    /// The only place that makes ports; `state` gives the shared state of an address.
    fn new(
        id: ServiceId,
        port: &ServicePort,
        endpoints: &[Endpoint],
        state: &mut States<'_>,
    ) -> Self {
        let mut subsets: std::collections::BTreeMap<&str, Vec<u32>> =
            std::collections::BTreeMap::new();
        for (at, endpoint) in (0u32..).zip(endpoints) {
            for selector in &endpoint.subsets {
                subsets.entry(selector).or_default().push(at);
            }
        }
        let prepared = endpoints.iter().map(|endpoint| {
            let address = canonical(endpoint.address);
            Arc::new(PreparedEndpoint {
                address,
                workload: endpoint.workload,
                node: endpoint.node.as_str().into(),
                state: state(address),
            })
        });
        Self {
            port: port.clone(),
            // The low 16 bits are left for the subset's position.
            key: u64::from(id.0) << 32 | u64::from(port.port) << 16,
            endpoints: prepared.collect(),
            subsets: subsets
                .into_iter()
                .map(|(selector, at)| (selector.to_owned(), at.into_boxed_slice()))
                .collect(),
        }
    }
}

/// Gives the shared state of an address.
pub(crate) type States<'s> = dyn FnMut(SocketAddr) -> Arc<EndpointState> + 's;

impl PreparedService {
    /// Prepares a service, taking over from `before` what is made of the same table parts.
    pub(crate) fn new(
        before: Option<&Arc<Self>>,
        service: &Arc<Service>,
        source: Source,
        defaults: &Arc<PreparedPolicy>,
        state: &mut States<'_>,
    ) -> Arc<Self> {
        let same_service = before.filter(|old| same(&old.service, service));
        let same_ports =
            same_service.filter(|old| same_option(&old.source.endpoints, &source.endpoints));
        let same_policy = before.filter(|old| same_option(&old.source.policy, &source.policy));
        if let (Some(old), Some(_)) = (same_ports, same_policy) {
            return Arc::clone(old);
        }
        let ports = same_ports.map_or_else(
            || ports(service, source.endpoints.as_deref(), state),
            |old| Arc::clone(&old.ports),
        );
        let policy = match (same_policy, &source.policy) {
            (Some(old), _) => Arc::clone(&old.policy),
            (None, Some(policy)) => Arc::new(PreparedPolicy::new(policy)),
            (None, None) => Arc::clone(defaults),
        };
        Arc::new(Self {
            service: Arc::clone(service),
            ports,
            policy,
            source,
        })
    }
}

fn ports(
    service: &Service,
    endpoints: Option<&Endpoints>,
    state: &mut States<'_>,
) -> Arc<[PreparedPort]> {
    service
        .ports
        .iter()
        .map(|port| {
            let list = endpoints
                .and_then(|all| all.ports.get(&port.port))
                .map_or(&[][..], Vec::as_slice);
            PreparedPort::new(service.id, port, list, state)
        })
        .collect()
}

/// Same pointer, or same content: the tables that a stream rebuilt from bytes hold equal values at new addresses.
fn same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn same_option<T: PartialEq>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Shared state by address, handed from one generation to the next. Only building takes the lock.
#[derive(Debug, Default)]
pub(crate) struct StateRegistry {
    by_address: HashMap<SocketAddr, std::sync::Weak<EndpointState>>,
    /// Entries after the last cleaning; twice as many ask for the next.
    cleaned: usize,
}

/// Smallest size at which the registry looks for addresses that nobody uses any more.
const CLEAN_FROM: usize = 64;

impl StateRegistry {
    pub(crate) fn get(&mut self, address: SocketAddr) -> Arc<EndpointState> {
        let entry = self.by_address.entry(address).or_default();
        if let Some(state) = entry.upgrade() {
            return state;
        }
        let state = Arc::new(EndpointState::default());
        *entry = Arc::downgrade(&state);
        state
    }

    pub(crate) fn clean(&mut self) {
        if self.by_address.len() >= CLEAN_FROM.max(2 * self.cleaned) {
            self.by_address.retain(|_, state| state.strong_count() > 0);
            self.by_address.shrink_to_fit();
            self.cleaned = self.by_address.len();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }
}
