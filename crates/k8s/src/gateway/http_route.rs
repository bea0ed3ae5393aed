//! HTTPRoute (gateway-api.sigs.k8s.io/reference/spec/#httproute). Defaults are those of the API server, so that a file
//! means what the same object in a cluster does.

use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::gateway::{BackendRef, Filter, ParentRef, RouteMatch};
use crate::meta::Metadata;

/// Routes of the Services that it names as parents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HTTPRoute {
    /// Name and namespace.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: HttpRouteSpec,
}

/// What an HTTPRoute asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// What it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// Hosts; without meaning inside a mesh.
    pub hostnames: Vec<String>,
    /// Rules; none means one that matches everything.
    pub rules: Vec<HttpRouteRule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Name for logs.
    pub name: String,
    /// Any of these; none matches everything.
    pub matches: Vec<RouteMatch>,
    /// Changes and answers.
    pub filters: Vec<Filter>,
    /// Weighted destinations.
    pub backend_refs: Vec<BackendRef>,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// Retries.
    pub retry: Option<RouteRetry>,
}

/// Retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRetry {
    /// Statuses that are tried again.
    pub codes: Vec<u16>,
    /// Retries after the first try.
    pub attempts: Option<u32>,
    /// Shortest pause between two tries.
    pub backoff: Option<Duration>,
}

/// Limits of time; zero means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Timeouts {
    /// The whole exchange.
    pub request: Option<Duration>,
    /// One try.
    pub backend_request: Option<Duration>,
}
