//! Dense names for the things that cross the wire often.
//!
//! An id is 32 bits of a hash of the object's name, so that operator restarts and second replicas give the same id
//! without shared state. Compile resolves collisions deterministically (`assign`), therefore ids are unique in one
//! generation; a reader must never keep an id beyond the table it came from.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Names one workload (pod) within a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkloadId(pub u32);

/// Names one service within a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceId(pub u32);

/// A namespaced name, shown as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name within it.
    pub name: String,
}

impl ObjectName {
    /// Joins the two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Gives each name a distinct 32-bit id, the same for the same set of names in any order.
///
/// A name whose hash is taken by a smaller name is hashed again with a counter, so only colliding names move.
pub fn assign<K: Ord + Clone + fmt::Display>(
    names: impl IntoIterator<Item = K>,
) -> BTreeMap<K, u32> {
    let sorted: std::collections::BTreeSet<K> = names.into_iter().collect();
    let mut taken = std::collections::BTreeSet::new();
    sorted
        .into_iter()
        .map(|name| {
            let text = name.to_string();
            let mut round = 0u32;
            let mut id = fnv1a(text.as_bytes(), round);
            while !taken.insert(id) {
                round += 1;
                id = fnv1a(text.as_bytes(), round);
            }
            (name, id)
        })
        .collect()
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits folded to 32: fixed for ever, unlike the hashes of the standard library.
fn fnv1a(bytes: &[u8], round: u32) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in bytes.iter().copied().chain(round.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_depend_on_order_and_are_distinct() {
        let names: Vec<String> = (0..50_000).map(|n| format!("ns/pod-{n}")).collect();
        let forward = assign(names.iter().cloned());
        let backward = assign(names.iter().rev().cloned());
        assert_eq!(forward, backward);
        let distinct: std::collections::BTreeSet<u32> = forward.values().copied().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
