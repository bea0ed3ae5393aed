//! NetworkPolicy: only whether it selects a pod and for which direction. The cluster's network enforces it.

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use crate::meta::{LabelSelector, Metadata};

/// A network policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPolicy {
    /// Name and namespace.
    pub metadata: Metadata,
    /// What it selects.
    pub spec: NetworkPolicySpec,
}

/// Whom a network policy selects and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Pods of its namespace.
    pub pod_selector: LabelSelector,
    /// `Ingress` and `Egress`; empty: see `ingress` and `egress`.
    pub policy_types: Vec<String>,
    /// Whether there is a list of egress rules.
    pub egress: Presence,
}

/// Whether a field was given, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Presence(pub bool);

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl NetworkPolicySpec {
    /// Whether it restricts what enters the selected pods. Without `policyTypes` every policy does.
    #[must_use]
    pub fn ingress(&self) -> bool {
        self.policy_types.is_empty() || self.policy_types.iter().any(|kind| kind == "Ingress")
    }

    /// Whether it restricts what leaves the selected pods. Without `policyTypes` those with egress rules do.
    #[must_use]
    pub fn egress(&self) -> bool {
        if self.policy_types.is_empty() {
            self.egress.0
        } else {
            self.policy_types.iter().any(|kind| kind == "Egress")
        }
    }
}
