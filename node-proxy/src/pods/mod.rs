//! The pods this proxy serves: who they are, how the agent hands them over, and when they are gone.

pub(crate) mod directory;
pub(crate) mod source;
pub(crate) mod state;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    /// Open connections on all workers.
    connections: AtomicUsize,
    /// Whether the agent waits for the last connection to end.
    releasing: AtomicBool,
}

impl Pod {
    pub(crate) fn new(serial: u64, uid: String, ips: Vec<IpAddr>, netns: Netns) -> Self {
        let (connections, releasing) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self {
            serial,
            uid,
            ips,
            netns,
            connections,
            releasing,
        }
    }

    /// Counts a connection; at most `limit` are let in.
    pub(crate) fn enter(&self, limit: usize) -> bool {
        let before = self.connections.fetch_add(1, Ordering::AcqRel);
        if before >= limit {
            self.connections.fetch_sub(1, Ordering::AcqRel);
        }
        before < limit
    }

    /// Counts a connection out; true when it was the last one of a pod that is being released.
    pub(crate) fn leave(&self) -> bool {
        self.connections.fetch_sub(1, Ordering::AcqRel) == 1
            && self.releasing.load(Ordering::Acquire)
    }

    /// The agent releases the pod; true when it is idle already.
    pub(crate) fn release(&self) -> bool {
        self.releasing.store(true, Ordering::Release);
        self.connections.load(Ordering::Acquire) == 0
    }

    /// A release is called off.
    pub(crate) fn keep(&self) {
        self.releasing.store(false, Ordering::Release);
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
