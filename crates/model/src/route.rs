//! What happens to a request that matched: forward, redirect or answer; with its filters, limits and retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ObjectName, ServiceId};
use crate::matcher::{RequestMatch, StringMatch};
use crate::reason::Reason;
use crate::retry::RetryPolicy;

/// Where a rule comes from: shown in logs, metrics, `why` and error answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteId {
    /// `VirtualService`, `HTTPRoute`, …
    pub kind: String,
    /// The object.
    pub object: ObjectName,
    /// The rule's own name, else its position counted from 0.
    pub rule: String,
}

/// One rule. Rules are ordered: the first of which any match holds decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Origin.
    pub id: RouteId,
    /// Any of these (OR); empty matches everything.
    pub matches: Vec<RequestMatch>,
    /// What to do.
    pub action: Action,
    /// Why a request is refused whose share belongs to nobody: `NoBackend` (503, Istio's) or `InvalidBackend` (500, the
    /// Gateway API's).
    pub unresolved: Reason,
    /// Changes to the request before it is sent.
    pub request: HeaderOps,
    /// Changes to the response before it is returned.
    pub response: HeaderOps,
    /// Rewrite of path and authority.
    pub rewrite: Option<Rewrite>,
    /// Whole exchange, retries included; none = no limit.
    pub timeout: Option<Duration>,
    /// Retries; none = the transport's own (connect failure and refused stream, contracts.md §6).
    pub retry: Option<RetryPolicy>,
    /// Who gets copies of the requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Which other origins' pages may use what the rule serves; none = that is left to the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Failures that are made on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What a rule does with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Send to one of these by weight. All weights 0 or no backend: `NoBackend`.
    Forward(Vec<Backend>),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer with a fixed response.
    Direct(Direct),
}

/// One weighted destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Share of the traffic relative to the sum.
    pub weight: u32,
    /// Where; `Err` keeps the share of a reference that does not resolve, with the reason in words.
    pub target: Result<BackendTarget, String>,
    /// Header changes for this backend only.
    pub request: HeaderOps,
    /// Response header changes for this backend only.
    pub response: HeaderOps,
    /// Who gets copies of this backend's requests only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

/// A service port, perhaps narrowed to a subset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTarget {
    /// Service id in this generation.
    pub service: ServiceId,
    /// Its name.
    pub name: ObjectName,
    /// Port; none = the port that the client dialled (or the service's only one).
    pub port: Option<u16>,
    /// Subset.
    pub subset: Option<SubsetRef>,
}

/// A subset by its name and by its selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsetRef {
    /// Name in the DestinationRule.
    pub name: String,
    /// Canonical selector text; endpoints list the selectors they satisfy.
    pub selector: String,
}

/// Header changes, applied in the order remove, set, add. Names are lower case and valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderOps {
    /// Names to remove.
    pub remove: Vec<String>,
    /// Replace all values by this one. `host` (or `:authority`) sets the authority.
    pub set: Vec<(String, String)>,
    /// Append a value.
    pub add: Vec<(String, String)>,
}

impl HeaderOps {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Rewrites of the request's target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// New path.
    pub path: Option<PathRewrite>,
    /// New authority.
    pub authority: Option<String>,
}

/// How the path changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathRewrite {
    /// Replace the matched prefix (or, after an exact match, the whole path): Istio's `uri`.
    Matched(String),
    /// Replace the whole path.
    Full(String),
    /// Replace what the pattern matches; `\1` refers to a group.
    Regex {
        /// RE2 pattern.
        pattern: String,
        /// Replacement.
        substitution: String,
    },
}

/// A redirect; fields that are not set keep the request's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host.
    pub authority: Option<String>,
    /// Port of the location.
    pub port: Option<RedirectPort>,
    /// Path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// The port of a redirect's location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectPort {
    /// This number.
    Number(u16),
    /// The well-known port of the scheme, therefore none is written.
    ProtocolDefault,
    /// The port the request came to.
    Request,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    /// Status.
    pub status: u16,
    /// Body, at most 1 MiB (checked by compile).
    pub body: Vec<u8>,
}

/// A part of a whole: `numerator` of `denominator`, which is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many ...
    pub numerator: u32,
    /// ... of how many.
    pub denominator: u32,
}

impl Share {
    /// All.
    pub const WHOLE: Self = Self {
        numerator: 1,
        denominator: 1,
    };
}

/// Somebody who gets copies of requests; what it answers is thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Where to: one endpoint of it for each request.
    pub target: BackendTarget,
    /// Which part of the requests is copied.
    pub share: Share,
    /// Whether the copy's host says what it is: `-shadow` after the host's name (Istio's and Envoy's habit).
    pub shadow: bool,
}

/// Cross-origin resource sharing (Fetch, section 3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cors {
    /// Allowed values of `Origin`; any of them.
    pub origins: Vec<StringMatch>,
    /// Allowed methods.
    pub methods: CorsList,
    /// Headers that a request may carry.
    pub headers: CorsList,
    /// Headers of a response that a page may read.
    pub expose: CorsList,
    /// Seconds for which a preflight's answer may be kept; none = the header is left out.
    pub max_age: Option<u64>,
    /// Whether cookies and the like may be sent.
    pub credentials: bool,
    /// Whether a preflight from an origin that is not allowed goes to the backend (Istio's `FORWARD`).
    pub forward_unmatched: bool,
}

/// A list of names in a CORS policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CorsList {
    /// These; without any the header is left out.
    Names(Vec<String>),
    /// The Gateway API's `*`: all there are.
    All,
}

impl Default for CorsList {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

/// Failures made on purpose, in each attempt anew and as if the backend had made them: time limits and retries hold. The
/// two are independent of each other; the delay comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Which part of the attempts waits, and for how long.
    pub delay: Option<(Share, Duration)>,
    /// Which part of the attempts is answered with this status.
    pub abort: Option<(Share, u16)>,
}
