//! Which requests a rule of an HTTPRoute is for (gateway-api.sigs.k8s.io/reference/spec/#httproutematch). Defaults are the
//! API server's.

use serde::{Deserialize, Serialize};

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
