//! What a proxy needs to serve a pod: its names, its namespace, its two listening sockets. Ours are the originals; they
//! keep the queue of connections alive while proxies come and go, and are closed when the last copy is dropped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use weft_netns::Netns;
use weft_wire::pod::Pod;

/// A pod to be served.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Its names and addresses.
    pub(crate) pod: Pod,
    /// Its namespace.
    pub(crate) netns: Arc<Netns>,
    /// Listens on 15001.
    pub(crate) outbound: OwnedFd,
    /// Listens on 15006.
    pub(crate) inbound: OwnedFd,
}

impl Offer {
    /// The descriptors in the order of the wire contract.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [
            self.netns.as_fd(),
            self.outbound.as_fd(),
            self.inbound.as_fd(),
        ]
    }
}
