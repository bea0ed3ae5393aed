//! What every Kubernetes object carries: its name, labels and owners.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Namespace that an object without one belongs to, as with `kubectl apply`.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name; the namespace is empty for cluster-scoped kinds. Shown as `namespace/name` or `name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Name {
    /// Joins the two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// `metadata` of any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; the parser fills in `default` for namespaced kinds.
    pub namespace: String,
    /// Unique id that the API server gave; empty in hand-written manifests.
    pub uid: String,
    /// Number of the spec, which the API server raises on every change of it; 0 in hand-written manifests.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 time; sorts as text because Kubernetes writes whole seconds in UTC.
    pub creation_timestamp: Option<String>,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<String>,
    /// Owners.
    pub owner_references: Vec<OwnerReference>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Metadata {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Name {
        Name::new(&self.namespace, &self.name)
    }
}

/// One owner of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// `apps/v1`, `batch/v1`, …
    pub api_version: String,
    /// `ReplicaSet`, `Job`, …
    pub kind: String,
    /// Name in the object's namespace.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether this owner manages the object.
    pub controller: Option<bool>,
}

/// `matchLabels` and `matchExpressions`. The empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on single labels.
    pub match_expressions: Vec<LabelExpression>,
}

/// One condition of a `LabelSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelExpression {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values of `In` and `NotIn`.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether an object with these labels is selected. An operator that does not exist selects nothing.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        contains(labels, &self.match_labels)
            && self
                .match_expressions
                .iter()
                .all(|expression| expression.holds(labels))
    }
}

impl LabelExpression {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// Whether `labels` has every pair of `wanted`.
#[must_use]
pub fn contains(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// An object of a kind that we do not type: known by name only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Other {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name and namespace (empty when the manifest gives none: the scope of the kind is not known).
    pub metadata: Metadata,
}

impl Other {
    /// The part of `apiVersion` before the `/`; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }
}
