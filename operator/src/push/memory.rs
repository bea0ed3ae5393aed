//! What nodes held when they were last connected, for a while: a node that comes back soon with other wishes, or after
//! the mesh has changed, then gets the difference instead of everything (hardening V110).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weft_wire::table::NodeKind;

use crate::published::Slice;

/// How long a node is remembered. Old slices keep old tables alive.
const KEEP: Duration = Duration::from_secs(600);

type Left = BTreeMap<(String, NodeKind), (Instant, Vec<Slice>)>;

/// What was held, by node and program.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Left>>);

impl Memory {
    /// Takes what is known of a program.
    #[must_use]
    pub fn take(&self, node: &str, kind: NodeKind) -> Vec<Slice> {
        self.lock()
            .remove(&(node.to_owned(), kind))
            .map(|(_, slices)| slices)
            .unwrap_or_default()
    }

    /// Remembers a program that has left at `now`.
    pub fn put(&self, node: String, kind: NodeKind, slices: Vec<Slice>, now: Instant) {
        let mut left = self.lock();
        left.retain(|_, (since, _)| now.saturating_duration_since(*since) < KEEP);
        if !slices.is_empty() {
            left.insert((node, kind), (now, slices));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        // Worst case after a panic: one node gets everything instead of a difference.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
