//! What the lab shows of itself: pods and Services at one moment. A view never changes; a newer one replaces it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use weft_netns::Netns;

use crate::cni::Attachment;
use crate::control::hosts::{self, Names};
use crate::object::Key;

/// A pod as it is now.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Kubernetes uid; new for every pod, also for one that has its predecessor's name.
    pub uid: String,
    /// Name of the Deployment, or of the pod itself.
    pub owner: String,
    /// Node it is bound to.
    pub node: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Addresses, IPv4 first; empty until CNI ADD has succeeded.
    pub ips: Vec<IpAddr>,
    /// Its network namespace, once made.
    pub netns: Option<Arc<Netns>>,
    /// Name of that namespace for `ip netns`.
    pub netns_name: String,
    /// What CNI ADD was given and gave.
    pub attachment: Option<Arc<Attachment>>,
    /// Processes of its containers.
    pub pids: Vec<u32>,
    /// All containers run and all declared ports listen.
    pub ready: bool,
    /// It is being stopped.
    pub terminating: bool,
    /// Why it is not ready, in words.
    pub waiting: String,
    /// The hosts file mounted into its containers.
    pub hosts_file: PathBuf,
}

impl Pod {
    /// The IPv4 address, when it has one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ips
            .iter()
            .find(|ip| ip.is_ipv4())
            .or(self.ips.first())
            .copied()
    }
}

/// Pods and Services at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// All pods, by (namespace, name).
    pub pods: BTreeMap<(String, String), Pod>,
    /// The user's objects as last read.
    pub objects: Arc<crate::object::Objects>,
    /// How many times the user's directory has been read.
    pub readings: u64,
    /// Whether every wanted pod is ready and no other pod is left.
    pub settled: bool,
    pub(crate) names: Names,
}

impl View {
    /// The first ready pod (in order of names) of a Deployment, or the pod of that name.
    #[must_use]
    pub fn pod(&self, namespace: &str, owner: &str) -> Option<&Pod> {
        let mut all = self.pods_of(namespace, owner);
        all.sort_by_key(|pod| !pod.ready);
        all.first().copied()
    }

    /// All pods of a Deployment, or the pod of that name; those that are being stopped are left out.
    #[must_use]
    pub fn pods_of(&self, namespace: &str, owner: &str) -> Vec<&Pod> {
        let pods = self
            .pods
            .values()
            .filter(|p| p.namespace == namespace && !p.terminating);
        pods.filter(|p| p.owner == owner || p.name == owner)
            .collect()
    }

    /// The address of a host name as a pod of `namespace` resolves it.
    #[must_use]
    pub fn resolve(&self, namespace: &str, host: &str) -> Option<IpAddr> {
        hosts::resolve(&self.names, namespace, host)
    }

    /// The object of this name in the user's directory.
    #[must_use]
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<&serde_json::Value> {
        self.objects.get(&Key::new(kind, namespace, name))
    }
}
