//! VirtualService: routes of a host (istio.io/docs/reference/config/networking/virtual-service).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::meta::Metadata;
use crate::percent::Percent;

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
    /// Hosts whose requests these routes are for: a Service's short name (`reviews`, of the same namespace), its full name
    /// (`reviews.shop.svc.cluster.local`), or a wildcard (`*.shop.svc.cluster.local`).
    pub hosts: Vec<String>,
    /// Gateways that the routes apply to. Without any, or with `mesh`, they apply to pods of the mesh.
    pub gateways: Vec<String>,
    /// HTTP rules in their order: the first that matches a request decides. A request that none matches is answered with 404.
    pub http: Vec<HttpRoute>,
    /// Namespaces whose pods see these routes: names, `.` for the own one, `*` for all. Without any: all.
    pub export_to: Vec<String>,
}

/// One HTTP rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// Name of the rule; logs and metrics show it.
    pub name: String,
    /// When the rule applies: any of these is enough. Without any it applies to every request.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Where requests go. Several destinations share them by weight. A rule has one of `route`, `redirect` and
    /// `directResponse`.
    pub route: Vec<HttpRouteDestination>,
    /// Answers with a redirect instead of forwarding.
    pub redirect: Option<HttpRedirect>,
    /// Answers with a fixed response instead of forwarding.
    pub direct_response: Option<DirectResponse>,
    /// Changes path or authority before the request is forwarded. Not together with `redirect`.
    pub rewrite: Option<HttpRewrite>,
    /// How long a request may take with all its retries, as in `2s`; then it is answered with 504. Without it: no limit.
    pub timeout: Option<Duration>,
    /// When and how often a request that failed is tried again. Without it: twice, when no byte was processed
    /// (`connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes`).
    pub retries: Option<HttpRetry>,
    /// Changes of headers, for all destinations of the rule.
    pub headers: Option<Headers>,
    /// Somebody who gets copies; `mirrors` is its newer spelling.
    pub mirror: Option<Destination>,
    /// Which part of the requests `mirror` gets; all when absent.
    pub mirror_percentage: Option<Percent>,
    /// The same in whole percent, an older spelling.
    pub mirror_percent: Option<u32>,
    /// All who get copies.
    pub mirrors: Vec<HttpMirror>,
    /// Which pages of other origins may use this service; preflights are answered by the mesh.
    pub cors_policy: Option<CorsPolicy>,
    /// Failures made on purpose, to see what clients make of them.
    pub fault: Option<FaultInjection>,
}

/// Somebody who gets copies of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpMirror {
    /// The service, subset and port that get them.
    pub destination: Destination,
    /// Which part of all requests is copied; all when absent.
    pub percentage: Option<Percent>,
}

/// Who may ask from pages of other origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Older spelling of `allowOrigins`: exact origins.
    pub allow_origin: Vec<String>,
    /// Origins that are allowed; exact `*` stands for every one.
    pub allow_origins: Vec<StringMatch>,
    /// Methods that a preflight allows.
    pub allow_methods: Vec<String>,
    /// Headers of requests that a preflight allows.
    pub allow_headers: Vec<String>,
    /// Headers of responses that pages may read.
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer is good for.
    pub max_age: Option<Duration>,
    /// Whether cookies and the like may come along.
    pub allow_credentials: Option<bool>,
    /// Whether preflights of other origins go on: `FORWARD` (default) or `IGNORE`.
    pub unmatched_preflights: Option<String>,
}

/// Failures made on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FaultInjection {
    /// Requests that wait.
    pub delay: Option<Delay>,
    /// Requests that fail.
    pub abort: Option<Abort>,
}

/// Requests that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Delay {
    /// How long a request is held back before it is sent on.
    pub fixed_delay: Option<Duration>,
    /// Which part; none when absent.
    pub percentage: Option<Percent>,
    /// The same in whole percent, an older spelling.
    pub percent: Option<u32>,
}

/// Requests that fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Abort {
    /// The status of the answer, from 200 to 599.
    pub http_status: Option<u32>,
    /// Which part; none when absent.
    pub percentage: Option<Percent>,
}

/// Conditions on a request; all that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// Name of the condition; logs show it after the rule's.
    pub name: String,
    /// The path, without the query. Values are case-sensitive unless `ignoreUriCase` is set.
    pub uri: Option<StringMatch>,
    /// The scheme: `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// The method, as in `exact: GET`.
    pub method: Option<StringMatch>,
    /// The authority (the Host header), with its port if the client sends one.
    pub authority: Option<StringMatch>,
    /// Headers by name, in lower case. An empty condition asks that the header is there.
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not be so. An empty condition asks that the header is absent.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Query parameters by name.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Port of the host that the client called.
    pub port: Option<u32>,
    /// Labels that the calling pod must carry.
    pub source_labels: BTreeMap<String, String>,
    /// Namespace that the calling pod must be in.
    pub source_namespace: String,
    /// Gateways that the condition applies to, instead of those of the VirtualService.
    pub gateways: Vec<String>,
    /// Compares `uri` without regard to case; not with `regex`.
    pub ignore_uri_case: bool,
}

/// One of three comparisons of a text. Without any it asks that the text is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StringMatch {
    /// The text is exactly this.
    pub exact: Option<String>,
    /// The text begins with this.
    pub prefix: Option<String>,
    /// The whole text matches this regular expression (RE2 syntax).
    pub regex: Option<String>,
}

/// One weighted destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpRouteDestination {
    /// The Service, and the subset and port of it, that requests go to.
    pub destination: Destination,
    /// Share of the requests, in relation to the other weights of the rule. A single destination needs none; 0 gets none.
    pub weight: Option<i64>,
    /// Changes of headers, for requests to this destination only.
    pub headers: Option<Headers>,
}

/// A service, perhaps a port and a subset of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Destination {
    /// The Service: its short name (of the same namespace) or full name.
    pub host: String,
    /// A subset of the host, as a DestinationRule of the host names it.
    pub subset: String,
    /// Port of the Service. Without it: the port that the client called.
    pub port: Option<PortSelector>,
}

/// A port by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PortSelector {
    /// Number of the port.
    pub number: u32,
}

/// A redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRedirect {
    /// The new path, in place of the whole old one.
    pub uri: String,
    /// What takes the place of the prefix that matched; not together with `uri`.
    pub prefix_rewrite: String,
    /// The new authority.
    pub authority: String,
    /// The new port.
    pub port: Option<u32>,
    /// Where the port comes from when `port` is not set: `FROM_PROTOCOL_DEFAULT` (80 or 443) or `FROM_REQUEST_PORT`.
    pub derive_port: Option<String>,
    /// The new scheme: `http` or `https`.
    pub scheme: String,
    /// Status of the answer: 301, 302, 303, 307 or 308. Without it: 301.
    pub redirect_code: Option<u32>,
}

/// A fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DirectResponse {
    /// Status of the answer, as in 503.
    pub status: u32,
    /// Body of the answer. Without it: an empty one.
    pub body: Option<Body>,
}

/// Body of a fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Body {
    /// The body as text.
    pub string: Option<String>,
    /// The body as bytes, in base64.
    pub bytes: Option<String>,
}

/// Rewrite of path and authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRewrite {
    /// The new path; where the rule matched a prefix, only that is replaced.
    pub uri: String,
    /// The new authority (Host header).
    pub authority: String,
    /// Rewrites the path by a regular expression; not together with `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A rewrite by expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegexRewrite {
    /// Regular expression (RE2 syntax) of what is replaced.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What takes its place; `\1` stands for the first group.
    pub rewrite: String,
}

/// Retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRetry {
    /// How often a request is tried again after the first try; 0 switches retries off.
    pub attempts: Option<i64>,
    /// How long each try may take, as in `500ms`. Without it: as long as `timeout` leaves.
    pub per_try_timeout: Option<Duration>,
    /// What is tried again, joined by commas: `5xx`, `gateway-error`, `reset`, `connect-failure`, `refused-stream`,
    /// `retriable-4xx`, gRPC's `unavailable`, `cancelled` and others, and status codes such as `503`.
    pub retry_on: String,
    /// Pause before the first retry, doubled for each further one and spread at random. Without it: 25 ms.
    pub backoff: Option<Duration>,
}

/// Changes to request and response headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Headers {
    /// Changes of the request, before it is forwarded.
    pub request: HeaderChange,
    /// Changes of the response, before it is returned.
    pub response: HeaderChange,
}

/// Changes to the headers of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeaderChange {
    /// Headers that are set to these values, whatever they were.
    pub set: BTreeMap<String, String>,
    /// Values that are added to these headers.
    pub add: BTreeMap<String, String>,
    /// Names of headers that are removed.
    pub remove: Vec<String>,
}
