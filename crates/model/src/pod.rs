//! A pod bound to this node, as agent and proxy need it before and while it runs.

use serde::{Deserialize, Serialize};

use crate::capture::CaptureSpec;
use crate::id::WorkloadId;
use crate::workload::Workload;

/// Whether the mesh wants a pod, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Captured.
    Enabled,
    /// Not captured; the reason in words for status and events (`hostNetwork`, `namespace is excluded`, …).
    Disabled(String),
}

/// One pod bound to the node, with or without an IP yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPod {
    /// The pod as a workload; `ips` may still be empty.
    pub workload: Workload,
    /// The uid that the API server gave the pod where the kubelet runs it under another one (a static pod's mirror);
    /// `workload.uid` is then the kubelet's.
    pub api_uid: Option<String>,
    /// Whether it is captured.
    pub mode: Mode,
    /// What is captured of it.
    pub capture: CaptureSpec,
    /// Whether the access log is on for its namespace.
    pub access_log: AccessLog,
}

impl LocalPod {
    /// The workload's id.
    #[must_use]
    pub fn id(&self) -> WorkloadId {
        self.workload.id
    }
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Responses of 400 and above and failed connections.
    Errors,
    /// All.
    All,
}
