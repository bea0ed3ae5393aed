//! EndpointSlice (discovery.k8s.io/v1): the only source of endpoints; a Service's selector is never evaluated in its
//! place.

use serde::{Deserialize, Serialize};

use crate::meta::Metadata;

/// Label that names the service of a slice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Some of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Name and labels.
    pub metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Addresses.
    pub endpoints: Vec<Endpoint>,
    /// Ports, the same for all endpoints.
    pub ports: Vec<EndpointPort>,
}

impl EndpointSlice {
    /// The service it belongs to.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.metadata
            .labels
            .get(SERVICE_NAME_LABEL)
            .map(String::as_str)
    }
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Addresses of the slice's type; consumers use the first.
    pub addresses: Vec<String>,
    /// Its state.
    pub conditions: Conditions,
    /// The pod, as a rule.
    pub target_ref: Option<ObjectReference>,
    /// Node it runs on.
    pub node_name: Option<String>,
}

/// State of an endpoint; what is absent is read as Kubernetes says: ready, and not terminating.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Whether it should get new traffic.
    pub ready: Option<bool>,
    /// Whether it can still answer.
    pub serving: Option<bool>,
    /// Whether it is going away.
    pub terminating: Option<bool>,
}

/// A reference to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectReference {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// One port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    /// Name of the service's port.
    pub name: String,
    /// Port of the pod; absent means all ports.
    pub port: Option<u16>,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
    /// Application protocol.
    pub app_protocol: Option<String>,
}
