//! HTTPRoute (gateway-api.sigs.k8s.io/reference/spec/#httproute). Defaults are those of the API server, so that a file
//! means what the same object in a cluster does.

use serde::{Deserialize, Serialize};

use crate::duration::Duration;
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

/// What a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentRef {
    /// Group; a Service's is empty and has to be written.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; the route's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Section; tells two references to one Service apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Port of the Service; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Default for ParentRef {
    fn default() -> Self {
        Self {
            group: "gateway.networking.k8s.io".to_owned(),
            kind: "Gateway".to_owned(),
            namespace: None,
            name: String::new(),
            section_name: None,
            port: None,
        }
    }
}

impl ParentRef {
    /// Whether it is a Service.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
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

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteMatch {
    /// Path.
    pub path: Option<PathMatch>,
    /// Headers.
    pub headers: Vec<ValueMatch>,
    /// Query parameters.
    pub query_params: Vec<ValueMatch>,
    /// Method.
    pub method: Option<String>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathMatch {
    /// `Exact`, `PathPrefix` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path.
    pub value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self {
            kind: "PathPrefix".to_owned(),
            value: "/".to_owned(),
        }
    }
}

/// A condition on a header or query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValueMatch {
    /// `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Value or expression.
    pub value: String,
}

impl Default for ValueMatch {
    fn default() -> Self {
        Self {
            kind: "Exact".to_owned(),
            name: String::new(),
            value: String::new(),
        }
    }
}

/// One filter: `kind` says which of the other fields is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Filter {
    /// `RequestHeaderModifier`, `ResponseHeaderModifier`, `RequestRedirect`, `URLRewrite`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Changes to the request's headers.
    pub request_header_modifier: Option<HeaderModifier>,
    /// Changes to the response's headers.
    pub response_header_modifier: Option<HeaderModifier>,
    /// An answer that sends the client elsewhere.
    pub request_redirect: Option<RequestRedirect>,
    /// New path and host.
    pub url_rewrite: Option<UrlRewrite>,
    /// Somebody who gets copies.
    pub request_mirror: Option<RequestMirror>,
    /// Cross-origin requests.
    pub cors: Option<CorsFilter>,
}

/// Changes to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Replace.
    pub set: Vec<HeaderValue>,
    /// Append.
    pub add: Vec<HeaderValue>,
    /// Remove.
    pub remove: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderValue {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A redirect; what is absent stays the request's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestRedirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host.
    pub hostname: Option<String>,
    /// Path.
    pub path: Option<PathModifier>,
    /// Port.
    pub port: Option<u16>,
    /// Status, 302 when absent.
    pub status_code: Option<u16>,
}

/// A rewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UrlRewrite {
    /// Host.
    pub hostname: Option<String>,
    /// Path.
    pub path: Option<PathModifier>,
}

/// A new path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathModifier {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The whole new path.
    pub replace_full_path: Option<String>,
    /// What stands for the prefix that matched.
    pub replace_prefix_match: Option<String>,
}

/// Somebody who gets copies of requests: all of them, unless `percent` or `fraction` says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestMirror {
    /// Where to.
    pub backend_ref: ObjectRef,
    /// From 0 to 100.
    pub percent: Option<u32>,
    /// Any other part.
    pub fraction: Option<Fraction>,
}

/// A part of a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fraction {
    /// How many ...
    pub numerator: u32,
    /// ... of how many.
    pub denominator: u32,
}

impl Default for Fraction {
    fn default() -> Self {
        Self {
            numerator: 0,
            denominator: 100,
        }
    }
}

/// Who may ask from pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorsFilter {
    /// `scheme://host[:port]`, where the host may begin with `*`; `*` alone means all.
    pub allow_origins: Vec<String>,
    /// Whether cookies and the like may come along.
    pub allow_credentials: bool,
    /// Methods, or `*`.
    pub allow_methods: Vec<String>,
    /// Headers of requests, or `*`.
    pub allow_headers: Vec<String>,
    /// Headers of responses that pages may read, or `*`.
    pub expose_headers: Vec<String>,
    /// Seconds that a preflight's answer is good for.
    pub max_age: u32,
}

impl Default for CorsFilter {
    fn default() -> Self {
        Self {
            allow_origins: Vec::new(),
            allow_credentials: false,
            allow_methods: Vec::new(),
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            max_age: 5,
        }
    }
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

/// An object that a filter sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; the route's own when absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Port; a Service needs one.
    pub port: Option<u16>,
}

impl Default for ObjectRef {
    fn default() -> Self {
        Self {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: None,
            name: String::new(),
            port: None,
        }
    }
}

/// One weighted destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendRef {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; the route's own when absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Port; a Service needs one.
    pub port: Option<u16>,
    /// Share of the traffic.
    pub weight: u32,
    /// Changes for this destination only.
    pub filters: Vec<Filter>,
}

impl Default for BackendRef {
    fn default() -> Self {
        Self {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: None,
            name: String::new(),
            port: None,
            weight: 1,
            filters: Vec::new(),
        }
    }
}

impl BackendRef {
    /// The object alone.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
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
