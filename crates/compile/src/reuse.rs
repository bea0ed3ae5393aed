//! Shares what did not change: equal values become the previous table's own.

use std::{collections::BTreeMap, sync::Arc};

use weft_model::table::Tables;

/// Shares everything but policies: every value of `new` that equals the one of `old` becomes a pointer to it.
pub(crate) fn foundation(old: &Tables, new: &mut Tables) {
    share(&old.index.services, &mut new.index.services);
    share(&old.index.workloads, &mut new.index.workloads);
    share(&old.namespaces, &mut new.namespaces);
    keep(&old.pods, &mut new.pods);
    keep(&old.services, &mut new.services);
    keep(&old.endpoints, &mut new.endpoints);
    keep(&old.workloads, &mut new.workloads);
}

/// Shares policies.
pub(crate) fn policies(old: &Tables, new: &mut Tables) {
    keep(&old.policies, &mut new.policies);
}

fn share<T: PartialEq>(old: &Arc<T>, new: &mut Arc<T>) {
    if **old == **new {
        *new = Arc::clone(old);
    }
}

fn keep<K: Ord, V: PartialEq>(old: &BTreeMap<K, Arc<V>>, new: &mut BTreeMap<K, Arc<V>>) {
    for (key, value) in new {
        if let Some(before) = old.get(key).filter(|before| *before == value) {
            *value = Arc::clone(before);
        }
    }
}
