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
    /// The Service that this is about: its short name (`reviews`, of the same namespace), full name
    /// (`reviews.shop.svc.cluster.local`), or a wildcard.
    pub host: String,
    /// How to choose endpoints and connect to them: for requests without a subset, and for subsets that do not say otherwise.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the host's pods, usually its versions; VirtualServices send requests to them by name.
    pub subsets: Vec<Subset>,
    /// Namespaces whose pods see this rule: names, `.` for the own one, `*` for all. Without any: all.
    pub export_to: Vec<String>,
}

/// Named part of a host's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Name that VirtualServices use.
    pub name: String,
    /// Labels that the pods of the subset carry, as in `version: v2`.
    pub labels: BTreeMap<String, String>,
    /// How to choose endpoints of this subset and connect to them; each part that is set takes the place of the host's.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How to choose an endpoint and connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits of connections to the host.
    pub connection_pool: Option<ConnectionPool>,
}

/// Choice of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadBalancer {
    /// The algorithm: `LEAST_REQUEST` (of two at random the less busy one), `ROUND_ROBIN` or `RANDOM`. Without it:
    /// `LEAST_REQUEST`.
    pub simple: Option<String>,
}

/// Limits of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionPool {
    /// Limits that hold for all protocols.
    pub tcp: Option<TcpPool>,
}

/// Limits of TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpPool {
    /// How long one connect may take, as in `500ms`. Without it: 10 s.
    pub connect_timeout: Option<Duration>,
}
