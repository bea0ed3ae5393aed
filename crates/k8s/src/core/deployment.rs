//! Deployment and its siblings: the labels of their pods for `analyze`, the whole template for the lab.

use serde::{Deserialize, Serialize};

use super::pod::PodSpec;
use crate::meta::{LabelSelector, Metadata};

/// A deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Name, labels.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: DeploymentSpec,
}

/// A stateful set; the fields that we read are the same.
pub type StatefulSet = Deployment;

/// A daemon set; the fields that we read are the same.
pub type DaemonSet = Deployment;

/// What a deployment asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentSpec {
    /// Number of pods; absent means 1.
    pub replicas: Option<u32>,
    /// Pods that belong to it.
    pub selector: LabelSelector,
    /// What its pods are made from.
    pub template: PodTemplate,
}

/// What pods are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    pub metadata: Metadata,
    /// Their spec.
    pub spec: PodSpec,
}
