//! A workload: one pod as its peers see it, with everything metrics and policy may ask of it.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::id::{ObjectName, WorkloadId};
use crate::protocol::Protocol;

/// One pod. All label-like fields are never empty: unknown is the word `unknown` (ecosystem.md part 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Id in this generation.
    pub id: WorkloadId,
    /// Kubernetes uid of the pod.
    pub uid: String,
    /// Namespace and pod name.
    pub pod: ObjectName,
    /// Node the pod is bound to.
    pub node: String,
    /// Addresses, the primary first.
    pub ips: Vec<IpAddr>,
    /// ServiceAccount.
    pub service_account: String,
    /// The owner as people know it (Deployment, StatefulSet, … else the pod's own name).
    pub workload: String,
    /// `app` label, else the canonical service.
    pub app: String,
    /// `version` label, else the canonical revision.
    pub version: String,
    /// Canonical service.
    pub canonical_service: String,
    /// Canonical revision, default `latest`.
    pub canonical_revision: String,
    /// Cluster name, default `Kubernetes`.
    pub cluster: String,
    /// Pod labels, for source matching and subsets.
    pub labels: BTreeMap<String, String>,
    /// Whether the mesh captures this pod on its node.
    pub captured: bool,
    /// Whether a NetworkPolicy selects this pod for ingress: then no one pass into it (contracts.md §7).
    pub ingress_policy: bool,
    /// Whether a NetworkPolicy selects this pod for egress: then no one pass out of it.
    pub egress_policy: bool,
    /// Services that select this pod, sorted by name, with the ports they reach it by.
    pub services: Vec<Membership>,
}

/// One way by which a service reaches a workload: what the server's node needs to name the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The service.
    pub service: ObjectName,
    /// Port of the service.
    pub port: u16,
    /// Port of the pod.
    pub target_port: u16,
    /// What the service port declares.
    pub protocol: Protocol,
}
