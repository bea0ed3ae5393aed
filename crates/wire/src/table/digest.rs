//! A digest of tables that follows a delta without reading the rest: the sum of the hashes of all items. Both ends keep
//! it, so a node that comes back proves with 16 bytes that it still holds what the operator would send.
//!
//! It detects mistakes, not malice: whoever can alter the stream can alter the digest beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use weft_model::delta::{Change, Delta, diff};
use weft_model::table::Tables;

/// Digest of tables; that of empty tables is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl Digest {
    /// Digest of whole tables.
    #[must_use]
    pub fn of(tables: &Tables) -> Self {
        let mut digest = Self::default();
        digest.apply(&mut Tables::default(), diff(&Tables::default(), tables));
        digest
    }

    /// Digest of tables that hold the items of both; no item may be in both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Applies `delta` to `tables` and follows it. Does to the tables exactly what `Tables::apply` does.
    pub fn apply(&mut self, tables: &mut Tables, delta: Delta) {
        for change in delta {
            match change {
                Change::ServiceAddresses(list) => self.shared(0, &mut tables.index.services, list),
                Change::WorkloadAddresses(list) => {
                    self.shared(1, &mut tables.index.workloads, list)
                }
                Change::Namespaces(list) => self.shared(7, &mut tables.namespaces, list),
                Change::Pod(key, value) => self.item(2, &mut tables.pods, key, value),
                Change::Service(key, value) => self.item(3, &mut tables.services, key, value),
                Change::Endpoints(key, value) => self.item(4, &mut tables.endpoints, key, value),
                Change::Policy(key, value) => self.item(5, &mut tables.policies, key, value),
                Change::Workload(key, value) => self.item(6, &mut tables.workloads, key, value),
            }
        }
    }

    fn shared<K: Ord + Clone + Serialize, V: Copy + Serialize>(
        &mut self,
        tag: u8,
        map: &mut Arc<BTreeMap<K, V>>,
        list: Vec<(K, Option<V>)>,
    ) {
        let map = Arc::make_mut(map);
        for (key, value) in list {
            self.add(value.map(|value| hash(tag, &key, &value)));
            let before = match value {
                Some(value) => map.insert(key.clone(), value),
                None => map.remove(&key),
            };
            self.subtract(before.map(|before| hash(tag, &key, &before)));
        }
    }

    fn item<K: Ord + Clone + Serialize, V: Serialize>(
        &mut self,
        tag: u8,
        map: &mut BTreeMap<K, Arc<V>>,
        key: K,
        value: Option<Arc<V>>,
    ) {
        self.add(value.as_ref().map(|value| hash(tag, &key, value)));
        let before = match value {
            Some(value) => map.insert(key.clone(), value),
            None => map.remove(&key),
        };
        self.subtract(before.map(|before| hash(tag, &key, &before)));
    }

    fn add(&mut self, hash: Option<u128>) {
        self.0 = self.0.wrapping_add(hash.unwrap_or(0));
    }

    fn subtract(&mut self, hash: Option<u128>) {
        self.0 = self.0.wrapping_sub(hash.unwrap_or(0));
    }
}

/// Hash of one item: of the bytes that would travel.
fn hash<K: Serialize + ?Sized, V: Serialize>(tag: u8, key: &K, value: &V) -> u128 {
    let mut sum = Checksum::new();
    // Neither a write into the sum nor the serialisation of the model's plain values can fail; if a type ever could,
    // both ends would leave out the same bytes.
    let _ = sum.write_all(&[tag]);
    let _ = serde_json::to_writer(&mut sum, key);
    let _ = serde_json::to_writer(&mut sum, value);
    sum.finish()
}

/// A 128-bit checksum of bytes: FNV-1a over little-endian 64-bit words, the length mixed in, then a finaliser so that
/// sums of checksums stay well spread. Fixed for ever: it is on disks and between versions.
#[derive(Clone, Debug)]
pub struct Checksum {
    state: u128,
    word: u64,
    length: u64,
}

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Checksum {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: FNV_OFFSET,
            word: 0,
            length: 0,
        }
    }

    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u128 {
        let mut sum = Self::new();
        sum.update(bytes);
        sum.finish()
    }

    /// Adds bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !self.length.is_multiple_of(8) {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.byte(*first);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        self.length += 8 * words.len() as u64;
        for byte in rest {
            self.byte(*byte);
        }
    }

    /// The checksum.
    #[must_use]
    pub fn finish(mut self) -> u128 {
        let (word, length) = (self.word, self.length);
        self.mix(word);
        self.mix(length);
        let mut out = self.state;
        for _ in 0..2 {
            out ^= out >> 65;
            out = out.wrapping_mul(0xff51_afd7_ed55_8ccd_c4ce_b9fe_1a85_ec53);
        }
        out ^ (out >> 64)
    }

    fn byte(&mut self, byte: u8) {
        self.word |= u64::from(byte) << (8 * (self.length % 8));
        self.length += 1;
        if self.length.is_multiple_of(8) {
            let word = std::mem::take(&mut self.word);
            self.mix(word);
        }
    }

    fn mix(&mut self, word: u64) {
        self.state = (self.state ^ u128::from(word)).wrapping_mul(FNV_PRIME);
        // The multiplication only carries upwards; fold the top back, or high bits would never reach low ones.
        self.state ^= self.state >> 71;
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
