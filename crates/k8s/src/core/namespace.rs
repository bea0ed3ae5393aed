//! Namespace and ServiceAccount: nothing but their names, labels and annotations.

use serde::{Deserialize, Serialize};

use crate::meta::Metadata;

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Name, labels, annotations.
    pub metadata: Metadata,
}

/// A service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// Name and namespace.
    pub metadata: Metadata,
}
