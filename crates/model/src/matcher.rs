//! What a route asks of a request. Plain data: `decide` prepares the regular expressions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Compares one text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StringMatch {
    /// Equal.
    Exact(String),
    /// Begins with (bytes, not path segments: Istio's meaning).
    Prefix(String),
    /// Equal or begins with the value and a `/` (Gateway API's PathPrefix).
    PathPrefix(String),
    /// The whole text matches (RE2 syntax, anchored at both ends).
    Regex(String),
    /// Any value; the thing must be there.
    Present,
}

/// All conditions must hold (AND). The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestMatch {
    /// Name given by the user, for logs and `why`.
    pub name: String,
    /// Canonical path without the query.
    pub path: Option<StringMatch>,
    /// Compare the path without regard to ASCII case.
    pub ignore_path_case: bool,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// Method.
    pub method: Option<StringMatch>,
    /// Authority as the client sent it, lower case, with the port when it was given.
    pub authority: Option<StringMatch>,
    /// Headers by lower-case name. A header sent several times matches when its values joined by `,` match.
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not match.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Query parameters; the first value of a name counts.
    pub query: BTreeMap<String, StringMatch>,
    /// Port of the service that was dialled.
    pub port: Option<u16>,
    /// Labels the calling workload must carry.
    pub source_labels: BTreeMap<String, String>,
    /// Namespace the calling workload must be in.
    pub source_namespace: Option<String>,
}
