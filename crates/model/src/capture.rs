//! What is captured of a pod's traffic: the input of the packet rules, the same for agent, compiler and tests.
//!
//! A `CaptureSpec` is complete: whoever renders rules needs nothing else, so a golden test shows the whole truth.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Port that takes what leaves a pod.
pub const OUTBOUND_PORT: u16 = 15001;
/// Port that takes what enters a pod.
pub const INBOUND_PORT: u16 = 15006;
/// Port of the mesh's own mTLS between nodes; never redirected.
pub const TUNNEL_PORT: u16 = 15008;
/// Packets of the proxy to the wire.
pub const MARK_TO_WIRE: u32 = 0x5e7;
/// Packets of the proxy to the pod's own app.
pub const MARK_TO_APP: u32 = 0x5e8;

/// Every port that the proxy listens on inside a pod: refused as a destination, or a pod could loop through itself.
pub const OWN_PORTS: [u16; 3] = [OUTBOUND_PORT, INBOUND_PORT, TUNNEL_PORT];

/// Largest number of entries in any one list of a `CaptureSpec`; more is refused with the annotation's name.
pub const MAX_LIST: usize = 256;

/// An inclusive range of TCP ports; a single port is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port, at least `first`.
    pub last: u16,
}

impl PortRange {
    /// A range of one port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// Which TCP connections of a pod go through the proxy. The default captures everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureSpec {
    /// Destination ports that leave the pod directly (`traffic.sidecar.istio.io/excludeOutboundPorts`).
    pub exclude_outbound_ports: Vec<PortRange>,
    /// Destination networks that leave the pod directly (`…/excludeOutboundIPRanges`).
    pub exclude_outbound_cidrs: Vec<IpNet>,
    /// When not empty, only these destinations are captured (`…/includeOutboundIPRanges` other than `*`).
    pub include_outbound_cidrs: Vec<IpNet>,
    /// Ports of the pod that are reached directly (`…/excludeInboundPorts`).
    pub exclude_inbound_ports: Vec<PortRange>,
    /// The node's own addresses on the pod network, from which the kubelet probes.
    pub node_ips: Vec<IpAddr>,
    /// Ports that the kubelet probes; together with `node_ips` they are reached directly.
    pub probe_ports: Vec<u16>,
}
