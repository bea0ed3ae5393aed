//! Address → id, for every address of the mesh: sorted arrays, 8 bytes for an IPv4 entry, because every node holds all of them.

use std::net::{IpAddr, SocketAddr};

/// Immutable map from canonical addresses to ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressMap {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u32)]>,
}

impl AddressMap {
    /// Builds the map; of two spellings of one address (IPv4 and IPv4-mapped) the first in order stays.
    pub(crate) fn new(entries: impl Iterator<Item = (IpAddr, u32)>) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (address, id) in entries {
            match address.to_canonical() {
                IpAddr::V4(address) => v4.push((u32::from(address), id)),
                IpAddr::V6(address) => v6.push((u128::from(address), id)),
            }
        }
        v4.sort_by_key(|entry| entry.0);
        v6.sort_by_key(|entry| entry.0);
        v4.dedup_by_key(|entry| entry.0);
        v6.dedup_by_key(|entry| entry.0);
        Self {
            v4: v4.into_boxed_slice(),
            v6: v6.into_boxed_slice(),
        }
    }

    /// The id that owns `address`.
    pub(crate) fn get(&self, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(address) => find(&self.v4, u32::from(address)),
            IpAddr::V6(address) => find(&self.v6, u128::from(address)),
        }
    }
}

fn find<K: Ord + Copy>(sorted: &[(K, u32)], key: K) -> Option<u32> {
    let at = sorted.binary_search_by_key(&key, |entry| entry.0).ok()?;
    sorted.get(at).map(|entry| entry.1)
}

/// The same socket address with an IPv4-mapped IPv6 address as IPv4: a dual-stack listener reports the mapped form.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn finds_what_was_put_and_nothing_else(
            entries in proptest::collection::btree_map(any::<IpAddr>(), any::<u32>(), 0..60),
            others in proptest::collection::vec(any::<IpAddr>(), 0..20),
        ) {
            let canonical: BTreeMap<IpAddr, u32> = entries.iter().rev().map(|(ip, id)| (ip.to_canonical(), *id)).collect();
            let map = AddressMap::new(entries.iter().map(|(ip, id)| (*ip, *id)));
            for ip in entries.keys().chain(&others) {
                prop_assert_eq!(map.get(*ip), canonical.get(&ip.to_canonical()).copied());
            }
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_one() {
        let map = AddressMap::new([("10.0.0.1".parse().unwrap(), 7)].into_iter());
        assert_eq!(map.get("::ffff:10.0.0.1".parse().unwrap()), Some(7));
        assert_eq!(map.get("::10.0.0.1".parse().unwrap()), None);
    }
}
