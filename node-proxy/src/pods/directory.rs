//! All served pods by uid and by address, as an immutable map that workers keep until it changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;

use super::Pod;

/// One state of the directory.
#[derive(Clone, Default)]
pub(crate) struct Pods {
    by_uid: HashMap<String, Arc<Pod>, RandomState>,
    by_ip: HashMap<IpAddr, Arc<Pod>, RandomState>,
}

impl Pods {
    /// The pod that owns an address.
    pub(crate) fn at(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.by_ip.get(&ip)
    }

    /// The pod with this uid.
    pub(crate) fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.by_uid.get(uid)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.by_uid.values()
    }
}

/// The current state, written by the control thread alone.
#[derive(Default)]
pub(crate) struct Directory {
    generation: AtomicU64,
    current: RwLock<Arc<Pods>>,
}

impl Directory {
    /// Changes whenever `load` would give something new.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The current state.
    pub(crate) fn load(&self) -> Arc<Pods> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a pod; one with the same uid is replaced.
    pub(crate) fn insert(&self, pod: Arc<Pod>) {
        self.change(|pods| {
            if let Some(old) = pods.by_uid.insert(pod.uid.clone(), Arc::clone(&pod)) {
                pods.by_ip.retain(|_, owner| owner.serial != old.serial);
            }
            pods.by_ip
                .extend(pod.ips.iter().map(|ip| (*ip, Arc::clone(&pod))));
        });
    }

    /// Removes a pod and says which it was.
    pub(crate) fn remove(&self, uid: &str) -> Option<Arc<Pod>> {
        let mut removed = None;
        self.change(|pods| {
            removed = pods.by_uid.remove(uid);
            if let Some(old) = &removed {
                pods.by_ip.retain(|_, owner| owner.serial != old.serial);
            }
        });
        removed
    }

    fn change(&self, change: impl FnOnce(&mut Pods)) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
