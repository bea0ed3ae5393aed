//! Pod: what compile asks of it and what the lab needs to run one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::probe::{Lifecycle, Probe};
use crate::meta::Metadata;
use crate::scalar::IntOrString;

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name, labels, owners.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: PodSpec,
    /// What is.
    pub status: PodStatus,
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Node it is bound to; empty while unscheduled.
    pub node_name: String,
    /// Labels that a node must carry.
    pub node_selector: BTreeMap<String, String>,
    /// Service account; empty means `default`.
    pub service_account_name: String,
    /// Whether the pod lives in the node's network namespace.
    pub host_network: bool,
    /// Containers.
    pub containers: Vec<Container>,
    /// Init containers; those with `restartPolicy: Always` keep running beside the others.
    pub init_containers: Vec<Container>,
    /// Seconds between SIGTERM and SIGKILL.
    pub termination_grace_period_seconds: Option<u64>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Program.
    pub command: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Directory it starts in.
    pub working_dir: String,
    /// Environment.
    pub env: Vec<EnvVar>,
    /// Ports that it says it listens on.
    pub ports: Vec<ContainerPort>,
    /// `Always` on an init container makes it a sidecar.
    pub restart_policy: Option<String>,
    /// Whether it may get traffic.
    pub readiness_probe: Option<Probe>,
    /// Whether it must be restarted.
    pub liveness_probe: Option<Probe>,
    /// Whether it has started.
    pub startup_probe: Option<Probe>,
    /// Hooks that the kubelet calls.
    pub lifecycle: Option<Lifecycle>,
}

/// One environment variable. References (`valueFrom`) are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A declared port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name, may be empty.
    pub name: String,
    /// Number.
    pub container_port: u16,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
}

/// What a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Primary address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// All addresses, the primary first.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// Address of the node.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// `Ready` and others.
    pub conditions: Vec<PodCondition>,
    /// RFC 3339 time at which the kubelet took the pod.
    pub start_time: Option<String>,
}

/// One address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// Address as text.
    pub ip: String,
}

/// One condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// `Ready`, `PodScheduled`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

impl Pod {
    /// Whether all containers have ended for good: such a pod's address may belong to another one.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether the condition `Ready` is true.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// Number of the port that a container declares by this name for this protocol.
    #[must_use]
    pub fn named_port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.spec
            .running_containers()
            .flat_map(|container| &container.ports)
            .find(|port| port.name == name && port.protocol() == protocol)
            .map(|port| port.container_port)
    }
}

impl PodSpec {
    /// Containers that keep running: all, and the init containers that restart always.
    pub fn running_containers(&self) -> impl Iterator<Item = &Container> {
        let always = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        self.containers
            .iter()
            .chain(self.init_containers.iter().filter(always))
    }
}

impl Container {
    /// Ports of the pod that the kubelet calls for probes and hooks.
    pub fn kubelet_ports(&self) -> impl Iterator<Item = IntOrString> + '_ {
        let probes = [
            &self.readiness_probe,
            &self.liveness_probe,
            &self.startup_probe,
        ];
        let hooks = self
            .lifecycle
            .iter()
            .flat_map(|hooks| [&hooks.post_start, &hooks.pre_stop]);
        let handlers = probes.into_iter().flatten().map(|probe| &probe.handler);
        handlers
            .chain(hooks.flatten())
            .filter_map(|handler| handler.port())
    }
}

impl ContainerPort {
    /// The protocol with Kubernetes' default.
    #[must_use]
    pub fn protocol(&self) -> &str {
        if self.protocol.is_empty() {
            "TCP"
        } else {
            &self.protocol
        }
    }
}
