//! Everything that clients of one service obey: routes and traffic policy, by the client's namespace.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::id::{ObjectName, ServiceId};
use crate::route::Rule;

/// Default limit of connecting to an endpoint (Istio's).
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Policy of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePolicy {
    /// The service's id in this generation.
    pub service: ServiceId,
    /// Its name.
    pub name: ObjectName,
    /// For clients of namespaces that are not listed below.
    pub default: ClientPolicy,
    /// For clients of one namespace, complete in itself (no merging at run time).
    pub by_namespace: BTreeMap<String, ClientPolicy>,
}

/// Policy as one client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPolicy {
    /// Ordered HTTP rules; none = no route object: every request goes to the service itself.
    pub http: Option<Vec<Rule>>,
    /// Balancing and connecting for requests without a subset.
    pub traffic: TrafficPolicy,
    /// Overrides by subset name.
    pub subsets: BTreeMap<String, TrafficPolicy>,
}

impl ClientPolicy {
    /// Traffic policy of a subset, or of the service.
    #[must_use]
    pub fn traffic(&self, subset: Option<&str>) -> TrafficPolicy {
        subset
            .and_then(|name| self.subsets.get(name))
            .copied()
            .unwrap_or(self.traffic)
    }
}

/// How to choose an endpoint and connect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficPolicy {
    /// Algorithm.
    pub balance: Balance,
    /// Limit of one connect.
    pub connect_timeout: Duration,
}

impl Default for TrafficPolicy {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        }
    }
}

/// Load balancing algorithm (DestinationRule `loadBalancer.simple`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// The less loaded of two random endpoints (Mitzenmacher, "The power of two choices").
    #[default]
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Any.
    Random,
}

/// Canonical text of a label selector: `key=value` pairs sorted by key, joined by `,`; the identity of a subset.
#[must_use]
pub fn selector(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}
