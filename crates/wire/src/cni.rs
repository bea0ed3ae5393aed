//! Plugin → agent over `cni.sock` (SOCK_SEQPACKET, uid 0 only): one JSON request, one JSON answer, then both close.
//!
//! For `Add` and `Check` the fd of the pod's network namespace travels beside the request, so that the agent need not
//! trust a path.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Largest request or answer, bytes.
pub const MAX_PACKET: usize = 64 * 1024;
/// The plugin gives up after this long and answers error 11 (try again later).
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// What the plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// Capture this pod; answered when rules are in place and the proxy has acknowledged.
    Add(Attachment),
    /// Is it still captured?
    Check(Attachment),
    /// The pod's interface goes. Never waited for longer than a second.
    Del {
        /// Container (sandbox) id.
        container_id: String,
        /// Interface.
        ifname: String,
    },
    /// These attachments of one network exist; the pods of its others are gone.
    Gc {
        /// Name of the network.
        #[serde(default)]
        network: String,
        /// What the runtime knows of.
        valid: Vec<Key>,
    },
}

/// What names an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Container (sandbox) id.
    pub container_id: String,
    /// Interface.
    pub ifname: String,
}

/// One attachment as the runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Container (sandbox) id: with the interface, the key of the attachment.
    pub container_id: String,
    /// Interface name.
    pub ifname: String,
    /// Name of the network: GC speaks of one network at a time.
    #[serde(default)]
    pub network: String,
    /// Path of the namespace, for logs only.
    pub netns: String,
    /// Pod namespace (`K8S_POD_NAMESPACE`).
    pub pod_namespace: String,
    /// Pod name (`K8S_POD_NAME`).
    pub pod_name: String,
    /// Pod uid (`K8S_POD_UID`); older runtimes do not give it.
    pub pod_uid: Option<String>,
    /// Addresses in the previous plugin's result.
    pub ips: Vec<IpAddr>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Answer {
    /// Done; `captured` is false when the pod is not in the mesh.
    Ok {
        /// Whether traffic is redirected.
        captured: bool,
    },
    /// Not now: the runtime should try again (CNI error 11).
    TryAgain {
        /// Why.
        reason: String,
    },
    /// This will not work (CNI error 100 and above).
    Failed {
        /// CNI error code, at least 100.
        code: u32,
        /// What is wrong.
        reason: String,
        /// What to do.
        details: String,
    },
}
