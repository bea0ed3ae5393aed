//! Shares what did not change: equal values become the previous table's own.

use std::{collections::BTreeMap, sync::Arc};

use weft_model::table::Tables;

/// Replaces every value of `new` that equals the one of `old` by a pointer to it.
pub(crate) fn share(old: &Tables, new: &mut Tables) {
    keep(&old.pods, &mut new.pods);
    keep(&old.services, &mut new.services);
    keep(&old.endpoints, &mut new.endpoints);
    keep(&old.policies, &mut new.policies);
    keep(&old.workloads, &mut new.workloads);
}

fn keep<K: Ord, V: PartialEq>(old: &BTreeMap<K, Arc<V>>, new: &mut BTreeMap<K, Arc<V>>) {
    for (key, value) in new {
        if let Some(before) = old.get(key).filter(|before| *before == value) {
            *value = Arc::clone(before);
        }
    }
}
