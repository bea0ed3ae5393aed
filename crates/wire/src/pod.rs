//! Agent ⇄ proxy over `agent.sock` (SOCK_SEQPACKET, uid 0 only): one JSON message per packet, file descriptors beside it.
//!
//! The agent owns every listening socket. A proxy that connects says what it holds (`Hello`, then one `Held` per pod with
//! its fds, then `HeldEnd`); the agent answers with `Pod` for each pod the proxy lacks, `Keep` for each it keeps, `Del` for
//! each that is gone, then `SnapshotEnd`. From then on both send as things happen. Several proxies may be connected; every
//! pod is sent to each of them. `Drain` tells an old proxy to stop accepting and to leave when it is empty.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Version of these messages; peers with another version refuse each other by name.
pub const VERSION: u32 = 1;
/// Largest packet, bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// Agent to proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToProxy {
    /// A pod to serve. Three fds travel beside it: network namespace, outbound listener (15001), inbound listener (15006).
    Pod(Pod),
    /// The proxy keeps serving a pod it said it holds.
    Keep {
        /// The pod.
        uid: String,
    },
    /// The pod is gone, or released and idle: close every fd of it.
    Del {
        /// The pod.
        uid: String,
    },
    /// The pod is being released: no rule redirects to it any more. Answer `Idle` once its last connection has ended.
    Releasing {
        /// The pod.
        uid: String,
    },
    /// All pods that exist now have been sent: the proxy may say `Ready`.
    SnapshotEnd,
    /// Stop accepting, finish what runs, leave.
    Drain,
}

/// A pod as the proxy needs it to start serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Kubernetes uid.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Its addresses, proved by the agent to be in the namespace whose fd comes with this message.
    pub ips: Vec<IpAddr>,
}

/// Proxy to agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToAgent {
    /// First message.
    Hello {
        /// `VERSION` of the sender.
        version: u32,
        /// Process id, for logs.
        pid: u32,
        /// When its process began, clock ticks since the machine's start (`/proc/PID/stat`, field 22): tells which of two
        /// is newer, also where the agent does not see the proxy's process. 0: it does not say.
        #[serde(default)]
        started: u64,
    },
    /// A pod that the proxy already serves (it outlived an agent); the same three fds as with `Pod` travel beside it.
    Held(Pod),
    /// All held pods have been named.
    HeldEnd,
    /// The pod's listeners are polled and a table of generation 1 or later is held.
    Ack {
        /// The pod.
        uid: String,
    },
    /// The pod cannot be served.
    Nack {
        /// The pod.
        uid: String,
        /// Why, in words for the event on the pod.
        reason: String,
    },
    /// Every pod of the snapshot is served: an older proxy may be drained.
    Ready,
    /// A releasing pod has no connection left.
    Idle {
        /// The pod.
        uid: String,
    },
}
