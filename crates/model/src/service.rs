//! A service's front: addresses and ports that clients dial.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::{ObjectName, ServiceId};
use crate::protocol::Protocol;

/// A Kubernetes Service as the data path needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Id in this generation.
    pub id: ServiceId,
    /// Namespace and name.
    pub name: ObjectName,
    /// Fully qualified name, `name.namespace.svc.<cluster domain>`.
    pub host: String,
    /// Virtual addresses; empty for a headless service.
    pub vips: Vec<IpAddr>,
    /// Ports, TCP only, ascending.
    pub ports: Vec<ServicePort>,
}

/// One TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Number that clients dial.
    pub port: u16,
    /// Name; may be empty for a single port.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
}

impl Service {
    /// The port with this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }
}
