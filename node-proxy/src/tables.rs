//! The prepared tables that all workers decide with, and their waiting for what is used for the first time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use weft_decide::Prepared;

/// The current tables. Written by the control thread, read by workers through their own copy of the `Arc`.
pub(crate) struct Current {
    version: AtomicU64,
    prepared: RwLock<Arc<Prepared>>,
    changed: watch::Sender<u64>,
}

impl Current {
    pub(crate) fn new(prepared: Prepared) -> Self {
        let (changed, _) = watch::channel(0);
        Self {
            version: AtomicU64::new(0),
            prepared: RwLock::new(Arc::new(prepared)),
            changed,
        }
    }

    /// Grows with every `publish`; the one atomic load that a request pays.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The tables now.
    pub(crate) fn load(&self) -> Arc<Prepared> {
        Arc::clone(&self.prepared.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Swaps new tables in and wakes who waits for them.
    pub(crate) fn publish(&self, prepared: Prepared) {
        *self
            .prepared
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(prepared);
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_replace(version);
    }

    /// Sees every later `publish`.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
