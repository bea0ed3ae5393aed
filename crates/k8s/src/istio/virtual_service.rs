//! VirtualService: routes of a host (istio.io/docs/reference/config/networking/virtual-service).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::meta::Metadata;

/// Routes of one or more hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VirtualService {
    /// Name and namespace.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: VirtualServiceSpec,
}

/// What a VirtualService asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Hosts: short names, full names or wildcards.
    pub hosts: Vec<String>,
    /// Gateways; empty means `mesh`.
    pub gateways: Vec<String>,
    /// Ordered HTTP rules.
    pub http: Vec<HttpRoute>,
    /// Namespaces that see it; empty means all.
    pub export_to: Vec<String>,
}

/// One HTTP rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// Name for logs.
    pub name: String,
    /// Any of these; empty matches everything.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Weighted destinations.
    pub route: Vec<HttpRouteDestination>,
    /// Answer with a redirect.
    pub redirect: Option<HttpRedirect>,
    /// Answer with a fixed response.
    pub direct_response: Option<DirectResponse>,
    /// Rewrite of the target.
    pub rewrite: Option<HttpRewrite>,
    /// Limit of the exchange.
    pub timeout: Option<Duration>,
    /// Retries.
    pub retries: Option<HttpRetry>,
    /// Header changes.
    pub headers: Option<Headers>,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// Name for logs.
    pub name: String,
    /// Path.
    pub uri: Option<StringMatch>,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// Method.
    pub method: Option<StringMatch>,
    /// Authority.
    pub authority: Option<StringMatch>,
    /// Headers.
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not match.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Query parameters.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Port of the host.
    pub port: Option<u32>,
    /// Labels of the caller.
    pub source_labels: BTreeMap<String, String>,
    /// Namespace of the caller.
    pub source_namespace: String,
    /// Gateways it applies to; overrides the VirtualService's.
    pub gateways: Vec<String>,
    /// Compare the path without regard to case.
    pub ignore_uri_case: bool,
}

/// One of three comparisons; none of them asks for presence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StringMatch {
    /// Equal.
    pub exact: Option<String>,
    /// Begins with.
    pub prefix: Option<String>,
    /// RE2 expression for the whole text.
    pub regex: Option<String>,
}

/// One weighted destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpRouteDestination {
    /// Where.
    pub destination: Destination,
    /// Share of the traffic.
    pub weight: Option<i64>,
    /// Header changes for this destination.
    pub headers: Option<Headers>,
}

/// A service, perhaps a port and a subset of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Destination {
    /// Short or full name.
    pub host: String,
    /// Subset of a DestinationRule.
    pub subset: String,
    /// Port.
    pub port: Option<PortSelector>,
}

/// A port by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PortSelector {
    /// Number.
    pub number: u32,
}

/// A redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRedirect {
    /// Replaces the whole path.
    pub uri: String,
    /// Replaces the matched prefix.
    pub prefix_rewrite: String,
    /// Host.
    pub authority: String,
    /// Port.
    pub port: Option<u32>,
    /// `FROM_PROTOCOL_DEFAULT` or `FROM_REQUEST_PORT`.
    pub derive_port: Option<String>,
    /// `http` or `https`.
    pub scheme: String,
    /// Status, 301 when absent.
    pub redirect_code: Option<u32>,
}

/// A fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DirectResponse {
    /// Status.
    pub status: u32,
    /// Body.
    pub body: Option<Body>,
}

/// Body of a fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Body {
    /// As text.
    pub string: Option<String>,
    /// As base64.
    pub bytes: Option<String>,
}

/// Rewrite of path and authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRewrite {
    /// Replaces the path, or the prefix that matched.
    pub uri: String,
    /// Replaces the authority.
    pub authority: String,
    /// Rewrites the path by an expression.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A rewrite by expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegexRewrite {
    /// RE2 expression.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Replacement with `\1`.
    pub rewrite: String,
}

/// Retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRetry {
    /// Retries after the first try; 0 disables.
    pub attempts: Option<i64>,
    /// Limit of each try.
    pub per_try_timeout: Option<Duration>,
    /// Envoy's words and status codes, joined by commas.
    pub retry_on: String,
    /// Base of the exponential back-off.
    pub backoff: Option<Duration>,
}

/// Changes to request and response headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Headers {
    /// Before the request is sent.
    pub request: HeaderChange,
    /// Before the response is returned.
    pub response: HeaderChange,
}

/// Changes to the headers of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeaderChange {
    /// Replace.
    pub set: BTreeMap<String, String>,
    /// Append.
    pub add: BTreeMap<String, String>,
    /// Remove.
    pub remove: Vec<String>,
}
