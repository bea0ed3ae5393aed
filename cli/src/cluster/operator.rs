//! What the operator knows: the pages of the replica that leads, fetched through the API server.
//!
//! The API server's pod proxy and not a port-forward: it is a plain GET with the caller's own rights, needs no second
//! protocol in this program, and answers in one round trip. The price is that the control plane must reach pods'
//! addresses, as it must for webhooks; where it does not, the error says so and names the command that works anyway.

use anyhow::bail;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use super::{NAMESPACE, find, reason, request, text};

/// The lease that the leader holds.
const LEASE: &str = "weft-operator";
/// Where the operator serves its pages.
const PORT: u16 = 15014;

/// The replica that leads.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Its pod.
    pub(crate) pod: String,
}

/// `/debug/nodes`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodesPage {
    /// Version of the operator.
    pub(crate) version: String,
    /// Newest generation of the mesh.
    pub(crate) generation: u64,
    /// Connected programs.
    pub(crate) nodes: Vec<NodeRow>,
}

/// One connected program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeRow {
    /// Its node.
    pub(crate) node: String,
    /// `agent` or `proxy`.
    pub(crate) kind: String,
    /// Its version.
    pub(crate) version: String,
    /// Generation of the mesh that it uses; 0: none.
    pub(crate) acked: u64,
    /// Since when, seconds ago.
    pub(crate) acked_seconds: u64,
    /// Its last refusal.
    pub(crate) last_nack: Option<Nack>,
}

/// A refusal.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Nack {
    /// Why.
    pub(crate) reason: String,
}

/// `/debug/uncaptured`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct CapturePage {
    /// Pods that their namespace or label puts into the mesh and that are not in it.
    pub(crate) pods: Vec<UncapturedPod>,
}

/// One of them.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct UncapturedPod {
    /// `NAMESPACE/NAME`.
    pub(crate) pod: String,
    /// Why, in words.
    pub(crate) message: String,
    /// Whether something is wrong, rather than the pod being one that cannot be captured.
    pub(crate) unexpected: bool,
}

/// Path of the lease.
pub(crate) fn lease_path() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE}")
}

impl Leader {
    /// The holder of the lease.
    ///
    /// # Errors
    /// Nobody holds it, or it cannot be read.
    pub(crate) async fn find(client: &Client) -> anyhow::Result<Self> {
        let lease = match find(client, &lease_path()).await {
            Ok(lease) => lease.unwrap_or_default(),
            Err(error) => bail!("lease {LEASE}: {}", reason(&error)),
        };
        match text(&lease, "/spec/holderIdentity") {
            "" => bail!(
                "no operator leads; see: kubectl -n {NAMESPACE} get pods -l app.kubernetes.io/name=weft-operator"
            ),
            pod => Ok(Self {
                pod: pod.to_owned(),
            }),
        }
    }

    /// A page of it.
    ///
    /// # Errors
    /// It cannot be reached, or answers otherwise than this version of the operator does.
    pub(crate) async fn page(&self, client: &Client, page: &str) -> anyhow::Result<Value> {
        let pod = &self.pod;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{PORT}/proxy{page}");
        match client.request::<Value>(request(&path)?).await {
            Ok(value) => Ok(value),
            Err(error) => bail!(
                "the operator's page {page} cannot be read through the API server: {}\n\
                 If the control plane does not reach pods here: kubectl -n {NAMESPACE} port-forward {pod} {PORT}, then \
                 curl http://localhost:{PORT}{page}",
                reason(&error)
            ),
        }
    }

    /// Who is connected to it.
    ///
    /// # Errors
    /// As [`Leader::page`].
    pub(crate) async fn nodes(&self, client: &Client) -> anyhow::Result<NodesPage> {
        Ok(serde_json::from_value(
            self.page(client, "/debug/nodes").await?,
        )?)
    }

    /// Which pods are not captured.
    ///
    /// # Errors
    /// As [`Leader::page`].
    pub(crate) async fn uncaptured(&self, client: &Client) -> anyhow::Result<CapturePage> {
        Ok(serde_json::from_value(
            self.page(client, "/debug/uncaptured").await?,
        )?)
    }
}
