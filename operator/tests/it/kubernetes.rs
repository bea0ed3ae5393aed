//! The operator on a real API server: a replica, nodes that show their tokens, and a shop to rule.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use weft_model::table::Tables;
use weft_tables::NodeKind;

use crate::api_server::{ApiServer, NAMESPACE};
use crate::mesh::{Client, free_port, until_page};

mod definitions;
mod events;
mod follow;
mod leader;
mod nodes;
mod status;

const ISTIO: &str = "networking.istio.io/v1";

/// One replica of the operator, as the service account `weft-operator`.
struct Replica {
    grpc: SocketAddr,
    http: SocketAddr,
    _process: Child,
}

impl Replica {
    async fn start(server: &ApiServer, identity: &str) -> Self {
        let token = server.token("weft-operator", None, None).await;
        let kubeconfig = server.kubeconfig(identity, &token);
        let (grpc, http) = (free_port(), free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_weft-operator"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--identity", identity, "--listen", &grpc.to_string()])
            .args(["--metrics-listen", &http.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            grpc,
            http,
            _process: process,
        }
    }

    async fn until_ready(&self) {
        self.until("/healthz/ready", |answer| answer.contains(" 200 "))
            .await;
    }

    async fn until(&self, path: &str, holds: impl Fn(&str) -> bool) {
        until_page(self.http, path, holds).await;
    }
}

/// A cluster with two nodes, a labelled namespace, a service with one pod, and agent and proxy pods.
async fn shop(server: &ApiServer) {
    for node in ["node1", "node2"] {
        server
            .apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}))
            .await;
        for program in ["agent", "proxy"] {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{program}-{node}"), "namespace": NAMESPACE,
                    "labels": {"app.kubernetes.io/name": format!("weft-{program}")},
                },
                "spec": {"nodeName": node, "serviceAccountName": format!("weft-{program}"), "containers": [{"name": "c", "image": "i"}]},
            });
            server.apply(pod).await;
        }
    }
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"weft.mesh/mode": "enabled"}}})).await;
    server.apply(service("reviews")).await;
    server
        .apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "reviews-1", "namespace": "shop", "labels": {"app": "reviews"}},
            "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
        }))
        .await;
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]},
    })
}

fn route(host: &str, timeout: &str) -> Value {
    json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"hosts": ["reviews"], "http": [{"timeout": timeout, "route": [{"destination": {"host": host}}]}]},
    })
}

struct Node {
    client: Client,
    _state: tempfile::TempDir,
}

/// The proxy of a node, with its pod's token in a file, interested in all services.
async fn proxy(server: &ApiServer, replica: &Replica, node: &str) -> Node {
    let token = server
        .token("weft-proxy", Some("weft"), Some(&format!("proxy-{node}")))
        .await;
    let state = tempfile::tempdir().unwrap();
    let file = write_token(state.path(), &token);
    let client = Client::with_token(
        replica.grpc,
        node,
        NodeKind::Proxy,
        state.path(),
        Some(file),
    );
    let index = client
        .until(|state| !state.tables.index.services.is_empty())
        .await;
    for id in index.tables.index.services.values() {
        client.handle.want_service(*id);
    }
    Node {
        client,
        _state: state,
    }
}

fn write_token(dir: &Path, token: &str) -> PathBuf {
    let file = dir.join("token");
    std::fs::write(&file, token).unwrap();
    file
}

/// Timeouts of all rules in force.
fn timeouts(tables: &Tables) -> Vec<u64> {
    let policies = tables.policies.values();
    let rules = policies.flat_map(|policy| policy.default.http.iter().flatten());
    rules
        .filter_map(|rule| rule.timeout.map(|timeout| timeout.as_secs()))
        .collect()
}
