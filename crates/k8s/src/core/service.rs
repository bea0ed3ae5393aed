//! Service: what clients dial and which pods answer. Absent fields mean what the API server makes of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::meta::Metadata;
use crate::scalar::IntOrString;

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Name, labels, annotations.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: ServiceSpec,
}

/// What a service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` (also when empty), `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Labels of the pods; empty for a service without a selector.
    pub selector: BTreeMap<String, String>,
    /// Primary virtual address, `None` for a headless service, empty while none was given.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// All virtual addresses, the primary first.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Whether endpoints that are not ready are published.
    pub publish_not_ready_addresses: bool,
}

/// One port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Name; may be empty when the port is the only one.
    pub name: String,
    /// Number that clients dial.
    pub port: u16,
    /// Port of the pod; the same number when absent.
    pub target_port: Option<IntOrString>,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
    /// Application protocol.
    pub app_protocol: Option<String>,
}

impl ServicePort {
    /// Whether it is a TCP port.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.protocol.as_str(), "" | "TCP")
    }
}

impl Service {
    /// Whether it only gives another name to something outside.
    #[must_use]
    pub fn is_external_name(&self) -> bool {
        self.spec.kind == "ExternalName"
    }

    /// Whether it has no virtual address by choice.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }
}
