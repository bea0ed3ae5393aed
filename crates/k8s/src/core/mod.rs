//! Kubernetes' own kinds, each with the fields that a mesh reads and no others: what is not here costs no memory.

mod deployment;
mod endpoint_slice;
mod namespace;
mod network_policy;
mod node;
mod pod;
mod probe;
mod service;

pub use deployment::{DaemonSet, Deployment, DeploymentSpec, PodTemplate, StatefulSet};
pub use endpoint_slice::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, ObjectReference, SERVICE_NAME_LABEL,
};
pub use namespace::{Namespace, ServiceAccount};
pub use network_policy::{NetworkPolicy, NetworkPolicySpec, Presence};
pub use node::{Node, NodeAddress, NodeSpec, NodeStatus};
pub use pod::{Container, ContainerPort, EnvVar, Pod, PodCondition, PodIp, PodSpec, PodStatus};
pub use probe::{GrpcAction, Handler, HttpGetAction, Lifecycle, Probe, TcpSocketAction};
pub use service::{Service, ServicePort, ServiceSpec};
