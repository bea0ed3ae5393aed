//! Network namespaces, file descriptor passing, original destinations: the only unsafe code of the project.
//!
//! Everything here is a thin, blocking, allocation-poor wrapper over one kernel facility. Nothing keeps state but the
//! thread's own home namespace (and, where it is needed, its own `/proc`), and no function leaves a thread in a namespace that it did not start in.
#![allow(
    unsafe_code,
    reason = "some of these kernel interfaces have no safe wrapper (SCM_RIGHTS with truncation, namespace ioctls, a few \
              socket options); each block states why it is sound, and every other crate denies unsafe code"
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod inside;
mod namespace;
mod pass;
mod proc;
mod scan;
mod socket;

pub use inside::{addresses, has_ipv6, read_sysctl, write_sysctl};
pub use namespace::{Netns, NetnsId};
pub use pass::{
    MAX_FDS, PeerCredentials, peer_credentials, recv_with_fds, send_with_fds, seqpacket_accept,
    seqpacket_connect, seqpacket_listen, seqpacket_pair, set_nonblocking, stream_connect,
};
pub use scan::{ScanRoots, find_by_ip};
pub use socket::{
    MARK_TO_APP, MARK_TO_WIRE, Role, connect_upstream, listen_in, original_destination,
    upstream_socket,
};
