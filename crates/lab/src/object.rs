//! Manifests as an API server keeps them: whole JSON values under (kind, namespace, name).
//!
//! The lab passes objects on to the operator, so it must lose no field that it does not know; typed views are taken
//! only where it plays a controller.

use std::collections::BTreeMap;

use serde_json::Value;

/// All objects, sorted.
pub type Objects = BTreeMap<Key, Value>;

/// Kinds without a namespace, as far as mesh manifests use them.
const CLUSTER_SCOPED: [&str; 8] = [
    "Namespace",
    "Node",
    "GatewayClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "PersistentVolume",
    "StorageClass",
];

/// Name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `Deployment`, `Service`, …
    pub kind: String,
    /// Empty for kinds without a namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// From parts.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The name in an object, or what is missing.
    ///
    /// # Errors
    /// `kind` or `metadata.name` is missing.
    pub fn of(object: &Value) -> Result<Self, String> {
        let kind = text(object, "/kind").ok_or("an object without `kind`")?;
        let name = text(object, "/metadata/name")
            .ok_or_else(|| format!("{kind} without `metadata.name`"))?;
        let namespace = if CLUSTER_SCOPED.contains(&kind) {
            ""
        } else {
            text(object, "/metadata/namespace").unwrap_or("default")
        };
        Ok(Self::new(kind, namespace, name))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The string at a JSON pointer.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The list at a JSON pointer; empty when absent.
#[must_use]
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The string map at a JSON pointer (labels, annotations, selectors); empty when absent.
#[must_use]
pub fn map(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let found = value.pointer(pointer).and_then(Value::as_object);
    found
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}

/// Whether labels carry all of a selector; an empty selector selects nothing.
#[must_use]
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// Objects of one kind.
pub fn of_kind<'a>(
    objects: &'a Objects,
    kind: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a Value)> + 'a {
    objects.iter().filter(move |(key, _)| key.kind == kind)
}
