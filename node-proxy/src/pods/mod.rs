//! The pods this proxy serves: who they are, how the agent hands them over, and when they are gone.

pub(crate) mod directory;
pub(crate) mod source;
pub(crate) mod state;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use weft_netns::Netns;

/// A pod whose listeners this proxy holds. Shared by all workers.
pub(crate) struct Pod {
    /// Unique within this process for ever; an address may come back with another pod, a serial does not.
    pub(crate) serial: u64,
    /// Kubernetes uid.
    pub(crate) uid: String,
    /// Addresses that the agent has proved to be in the namespace.
    pub(crate) ips: Vec<IpAddr>,
    /// Network namespace.
    pub(crate) netns: Netns,
    /// Connections that its listeners have accepted, on all workers.
    connections: AtomicUsize,
    /// Upstream connections that were opened in its namespace, in whoever's name; idle ones too.
    inside: AtomicUsize,
    /// Whether the agent waits for the last connection to end.
    releasing: AtomicBool,
    /// Cancelled when the pod is gone: connections of others that end in its namespace must let go of it.
    pub(crate) gone: CancellationToken,
}

impl Pod {
    pub(crate) fn new(serial: u64, uid: String, ips: Vec<IpAddr>, netns: Netns) -> Self {
        Self {
            serial,
            uid,
            ips,
            netns,
            connections: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            releasing: AtomicBool::new(false),
            gone: CancellationToken::new(),
        }
    }

    /// Counts an accepted connection; at most `limit` are let in.
    pub(crate) fn enter(&self, limit: usize) -> bool {
        let before = self.connections.fetch_add(1, Ordering::SeqCst);
        if before >= limit {
            self.connections.fetch_sub(1, Ordering::SeqCst);
        }
        before < limit
    }

    /// Counts it out; true when it was the last one of a pod that is being released.
    pub(crate) fn leave(&self) -> bool {
        self.connections.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_released()
    }

    /// Counts an upstream connection that is opened in the namespace.
    pub(crate) fn open_inside(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts it out; true when it was the last one of a pod that is being released.
    pub(crate) fn close_inside(&self) -> bool {
        self.inside.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_released()
    }

    /// The agent releases the pod; true when it is idle already.
    pub(crate) fn release(&self) -> bool {
        self.releasing.store(true, Ordering::SeqCst);
        self.is_released()
    }

    /// Whether the pod is on its way out of the mesh: nothing new may be opened in its namespace.
    pub(crate) fn is_releasing(&self) -> bool {
        self.releasing.load(Ordering::SeqCst)
    }

    /// Of two that end at once at least one sees both counts at zero: hence the total order of all these accesses.
    fn is_released(&self) -> bool {
        self.is_releasing()
            && self.connections.load(Ordering::SeqCst) == 0
            && self.inside.load(Ordering::SeqCst) == 0
    }

    /// A release is called off.
    pub(crate) fn keep(&self) {
        self.releasing.store(false, Ordering::SeqCst);
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
