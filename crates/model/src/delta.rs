//! The difference between two tables, item by item, so that a change of one route moves one route.
//!
//! Law (property test): `b.apply(diff(a, b))` on a copy of `a` gives `b`.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoints;
use crate::id::{ServiceId, WorkloadId};
use crate::pod::LocalPod;
use crate::policy::ServicePolicy;
use crate::service::Service;
use crate::table::Tables;
use crate::workload::Workload;

/// One changed item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Virtual addresses that belong to a service from now on; `None`: to nobody.
    ServiceAddresses(Vec<(IpAddr, Option<ServiceId>)>),
    /// Pod addresses that belong to a workload from now on; `None`: to nobody.
    WorkloadAddresses(Vec<(IpAddr, Option<WorkloadId>)>),
    /// Namespaces and whether their pods are in the mesh; `None`: there is no such namespace any more.
    Namespaces(Vec<(String, Option<bool>)>),
    /// A local pod, by uid.
    Pod(String, Option<Arc<LocalPod>>),
    /// A service.
    Service(ServiceId, Option<Arc<Service>>),
    /// A service's endpoints.
    Endpoints(ServiceId, Option<Arc<Endpoints>>),
    /// A service's policy.
    Policy(ServiceId, Option<Arc<ServicePolicy>>),
    /// A workload.
    Workload(WorkloadId, Option<Arc<Workload>>),
}

/// Changes of one generation, applied together or not at all.
pub type Delta = Vec<Change>;

/// What turns `old` into `new`. Removals of endpoints and addresses come first, so a reader that streams sees them early.
#[must_use]
pub fn diff(old: &Tables, new: &Tables) -> Delta {
    let mut delta = Delta::new();
    let addresses = whole(&old.index.workloads, &new.index.workloads);
    delta.extend(addresses.map(Change::WorkloadAddresses));
    let addresses = whole(&old.index.services, &new.index.services);
    delta.extend(addresses.map(Change::ServiceAddresses));
    delta.extend(whole(&old.namespaces, &new.namespaces).map(Change::Namespaces));
    delta.extend(
        shared(&old.endpoints, &new.endpoints).map(|(id, value)| Change::Endpoints(id, value)),
    );
    delta.extend(
        shared(&old.workloads, &new.workloads).map(|(id, value)| Change::Workload(id, value)),
    );
    delta.extend(shared(&old.pods, &new.pods).map(|(uid, value)| Change::Pod(uid, value)));
    delta
        .extend(shared(&old.services, &new.services).map(|(id, value)| Change::Service(id, value)));
    delta.extend(shared(&old.policies, &new.policies).map(|(id, value)| Change::Policy(id, value)));
    delta
}

impl Tables {
    /// Applies all changes in order. Removing what is not there is no error, so a repeated delta does no harm.
    pub fn apply(&mut self, delta: Delta) {
        for change in delta {
            match change {
                Change::ServiceAddresses(list) => put_all(&mut self.index.services, list),
                Change::WorkloadAddresses(list) => put_all(&mut self.index.workloads, list),
                Change::Namespaces(list) => put_all(&mut self.namespaces, list),
                Change::Pod(key, value) => put(&mut self.pods, key, value),
                Change::Service(key, value) => put(&mut self.services, key, value),
                Change::Endpoints(key, value) => put(&mut self.endpoints, key, value),
                Change::Policy(key, value) => put(&mut self.policies, key, value),
                Change::Workload(key, value) => put(&mut self.workloads, key, value),
            }
        }
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn put_all<K: Ord + Clone, V: Clone>(map: &mut Arc<BTreeMap<K, V>>, list: Vec<(K, Option<V>)>) {
    let map = Arc::make_mut(map);
    for (key, value) in list {
        put(map, key, value);
    }
}

/// Keys whose value differs, with the new value; keys that are gone come first.
fn differences<K: Ord + Clone, V: Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> Vec<(K, Option<V>)> {
    let gone = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), None));
    let changed = new
        .iter()
        .filter(|(key, value)| !old.get(*key).is_some_and(|before| same(before, value)))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    gone.chain(changed).collect()
}

/// Differences of a map that is shared as a whole; `None` when there are none.
fn whole<K: Ord + Clone, V: Clone + PartialEq>(
    old: &Arc<BTreeMap<K, V>>,
    new: &Arc<BTreeMap<K, V>>,
) -> Option<Vec<(K, Option<V>)>> {
    if Arc::ptr_eq(old, new) {
        return None;
    }
    let list = differences(old, new, |a, b| a == b);
    (!list.is_empty()).then_some(list)
}

/// Differences of shared values: the pointer is compared first, because compile reuses what did not change.
fn shared<K: Ord + Clone, V: PartialEq>(
    old: &BTreeMap<K, Arc<V>>,
    new: &BTreeMap<K, Arc<V>>,
) -> impl Iterator<Item = (K, Option<Arc<V>>)> {
    differences(old, new, |a, b| Arc::ptr_eq(a, b) || a == b).into_iter()
}
