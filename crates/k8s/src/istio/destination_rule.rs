//! DestinationRule: subsets of a host and how to reach it (istio.io/docs/reference/config/networking/destination-rule).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::meta::Metadata;

/// Subsets and traffic policy of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationRule {
    /// Name and namespace.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: DestinationRuleSpec,
}

/// What a DestinationRule asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// Short name, full name or wildcard.
    pub host: String,
    /// For requests without a subset, and for subsets that do not say otherwise.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the host's endpoints.
    pub subsets: Vec<Subset>,
    /// Namespaces that see it; empty means all.
    pub export_to: Vec<String>,
}

/// Named part of a host's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Name.
    pub name: String,
    /// Labels that its pods carry.
    pub labels: BTreeMap<String, String>,
    /// Overrides the host's policy, part by part.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How to choose an endpoint and connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// Algorithm.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits of connections.
    pub connection_pool: Option<ConnectionPool>,
}

/// Choice of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadBalancer {
    /// `LEAST_REQUEST`, `ROUND_ROBIN`, `RANDOM`, `PASSTHROUGH`, …
    pub simple: Option<String>,
}

/// Limits of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionPool {
    /// For all protocols.
    pub tcp: Option<TcpPool>,
}

/// Limits of TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpPool {
    /// Limit of one connect.
    pub connect_timeout: Option<Duration>,
}
