//! What the kubelet calls in a pod.

use serde::{Deserialize, Serialize};

use crate::scalar::IntOrString;

/// One probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Probe {
    /// What is called.
    #[serde(flatten)]
    pub handler: Handler,
    /// Seconds before the first call.
    pub initial_delay_seconds: Option<u32>,
    /// Seconds between calls.
    pub period_seconds: Option<u32>,
}

/// A network call of the kubelet; commands in the container are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Handler {
    /// HTTP.
    pub http_get: Option<HttpGetAction>,
    /// A TCP connect.
    pub tcp_socket: Option<TcpSocketAction>,
    /// gRPC health.
    pub grpc: Option<GrpcAction>,
}

/// An HTTP call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetAction {
    /// Host; the pod's address when empty.
    #[serde(default)]
    pub host: String,
    /// Path.
    #[serde(default)]
    pub path: String,
    /// Port.
    pub port: IntOrString,
}

/// A TCP connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocketAction {
    /// Host; the pod's address when empty.
    #[serde(default)]
    pub host: String,
    /// Port.
    pub port: IntOrString,
}

/// A gRPC health call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcAction {
    /// Port.
    pub port: u16,
}

/// Hooks after the start and before the stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Lifecycle {
    /// After the start.
    pub post_start: Option<Handler>,
    /// Before the stop.
    pub pre_stop: Option<Handler>,
}

impl Handler {
    /// The port of the pod that is called, if it is the pod that is called.
    #[must_use]
    pub fn port(&self) -> Option<IntOrString> {
        let http = self
            .http_get
            .as_ref()
            .filter(|action| action.host.is_empty())
            .map(|action| action.port.clone());
        let tcp = self
            .tcp_socket
            .as_ref()
            .filter(|action| action.host.is_empty())
            .map(|action| action.port.clone());
        http.or(tcp).or_else(|| {
            self.grpc
                .as_ref()
                .map(|action| IntOrString::Int(action.port))
        })
    }
}
