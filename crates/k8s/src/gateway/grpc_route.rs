//! GRPCRoute (gateway-api.sigs.k8s.io/reference/spec/#grpcroute), with the API server's defaults. Filters and backends are
//! those of an HTTPRoute.

use serde::{Deserialize, Serialize};

use crate::gateway::{BackendRef, Filter, ParentRef, ValueMatch};
use crate::meta::Metadata;

/// Routes for gRPC of the Services that it names as parents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GRPCRoute {
    /// Name and namespace.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: GrpcRouteSpec,
}

/// What a GRPCRoute asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    /// What it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// Hosts; without meaning inside a mesh.
    pub hostnames: Vec<String>,
    /// Rules.
    pub rules: Vec<GrpcRouteRule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRouteRule {
    /// Name for logs.
    pub name: String,
    /// Any of these; none matches everything.
    pub matches: Vec<GrpcRouteMatch>,
    /// Changes.
    pub filters: Vec<Filter>,
    /// Weighted destinations.
    pub backend_refs: Vec<BackendRef>,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpcRouteMatch {
    /// Service and method.
    pub method: Option<GrpcMethodMatch>,
    /// Headers.
    pub headers: Vec<ValueMatch>,
}

/// A condition on the method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Service.
    pub service: Option<String>,
    /// Method.
    pub method: Option<String>,
}

impl Default for GrpcMethodMatch {
    fn default() -> Self {
        Self {
            kind: "Exact".to_owned(),
            service: None,
            method: None,
        }
    }
}
