//! Writes the conditions of policies: by server-side apply, only what differs, only while this replica leads, at a
//! bounded rate. Nothing waits for it; a status that cannot be written is tried again with the next look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;

use super::MANAGER;
use super::conditions::{Ledger, Status, Wanted};
use super::lease::{Seat, Seats};
use crate::pipeline::Handle;
use crate::published::Published;
use crate::source::{Observed, Reference};
use crate::status::{NodeStatus, Nodes};
use weft_access::reason;

/// From one write to the next: at most fifty a second.
const BETWEEN_WRITES: Duration = Duration::from_millis(20);
/// Nodes usually acknowledge within this time, so that a change needs one write and not two.
const PATIENCE: Duration = Duration::from_millis(400);
/// A replica that has just begun to lead lets the nodes come first, else it would take those that were quick for all. A node
/// that lost its operator rests for at most five seconds.
const SETTLE: Duration = Duration::from_secs(6);
/// While nodes are behind, they are looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// Without any change everything is compared again after this time: somebody may have changed a status by hand.
const IDLE_LOOK: Duration = Duration::from_secs(30);
/// Limit of one write.
const REQUEST: Duration = Duration::from_secs(5);

/// Label of the proxies' pods.
const PROXY: (&str, &str) = ("app.kubernetes.io/name", "weft-proxy");

/// What policies carry, as the watches last saw it and as we last wrote it. Kept beside the manifests, so that a status
/// that we write does not look like a change of the mesh.
#[derive(Clone, Debug, Default)]
pub struct Carried(Arc<Mutex<BTreeMap<Reference, Observed>>>);

impl Carried {
    /// An object was seen.
    pub fn put(&self, of: Reference, observed: Observed) {
        self.lock().insert(of, observed);
    }

    /// An object has gone.
    pub fn remove(&self, of: &Reference) {
        self.lock().remove(of);
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Reference, Observed> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Reference, Observed>> {
        // Worst case after a panic: a status is written once more than needed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer.
pub struct Writer {
    /// The API server.
    pub client: Client,
    /// What the mesh is.
    pub pipeline: Handle,
    /// Who has acknowledged it.
    pub nodes: Nodes,
    /// What objects carry.
    pub carried: Carried,
    /// Whether this replica leads.
    pub seats: Seats,
    /// Namespace of the proxies.
    pub namespace: String,
}

impl Writer {
    /// Runs for as long as it is polled.
    pub async fn run(mut self) {
        let mut ledger = Ledger::default();
        let mut published = self.pipeline.changes();
        loop {
            if *self.seats.borrow() != Seat::Leads {
                let leads = self.seats.wait_for(|seat| *seat == Seat::Leads);
                if leads.await.is_err() {
                    return;
                }
                ledger = Ledger::default();
                tokio::time::sleep(SETTLE).await;
            }
            let newest = published.borrow_and_update().clone();
            let mut waiting = false;
            if newest.generation > 0 {
                let carried = self.carried.all();
                ledger.note(&newest, &carried);
                tokio::time::sleep(PATIENCE).await;
                let now = k8s_openapi::jiff::Timestamp::now();
                let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let wanted;
                (wanted, waiting) = ledger.wanted(&newest, &carried, &self.proxies(&newest), &now);
                waiting |= self.write(&wanted).await;
            }
            let look = if waiting { LOOK } else { IDLE_LOOK };
            tokio::select! {
                changed = published.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    /// Programs that are connected, and proxies that should be: one that is ready and has not come yet is behind, else the
    /// nodes that were quick after a change of the leader would be taken for all.
    fn proxies(&self, published: &Published) -> Vec<NodeStatus> {
        let mut rows = self.nodes.list();
        for (name, pod) in &published.manifests().snapshot.pods {
            let (pod, node) = (&pod.value, &pod.value.spec.node_name);
            let is_proxy = pod
                .metadata
                .labels
                .get(PROXY.0)
                .is_some_and(|name| name == PROXY.1);
            if !is_proxy || name.namespace != self.namespace || !pod.is_ready() {
                continue;
            }
            if !rows
                .iter()
                .any(|row| row.node == *node && row.kind == "proxy")
            {
                rows.push(NodeStatus::away(node, "proxy"));
            }
        }
        rows
    }

    /// Writes what differs; whether anything is left to do.
    async fn write(&self, wanted: &[Wanted]) -> bool {
        let mut left = false;
        for wanted in wanted {
            if *self.seats.borrow() != Seat::Leads {
                return true;
            }
            match tokio::time::timeout(REQUEST, self.apply(wanted)).await {
                Ok(Ok(())) => {
                    let mut observed = wanted.observed.clone();
                    match &wanted.status {
                        Status::Conditions(all) => observed.conditions.clone_from(all),
                        Status::Parents(all) => observed.parents.clone_from(all),
                        Status::Mesh(all, features) => {
                            observed.conditions.clone_from(all);
                            observed.features.clone_from(features);
                        }
                    }
                    self.carried.put(wanted.of.clone(), observed);
                }
                // Gone, or changed since: the watch will say so.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                    left = true
                }
                Ok(Err(error)) => {
                    left = true;
                    let Reference { kind, name } = &wanted.of;
                    tracing::warn!(%kind, %name, error = reason(&error), "cannot write the status");
                }
                Err(_) => left = true,
            }
            tokio::time::sleep(BETWEEN_WRITES).await;
        }
        left
    }

    async fn apply(&self, wanted: &Wanted) -> kube::Result<()> {
        let Wanted {
            of,
            observed,
            status,
        } = wanted;
        let gvk = GroupVersionKind::gvk(of.kind.group(), &observed.version, of.kind.name());
        let resource = ApiResource::from_gvk_with_plural(&gvk, &of.kind.plural());
        let client = self.client.clone();
        let api: Api<DynamicObject> = if of.kind.is_namespaced() {
            Api::namespaced_with(client, &of.name.namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        };
        // The uid makes sure that a new object of the same name is not told about the old one.
        let mut metadata = json!({"name": of.name.name, "uid": observed.uid});
        if of.kind.is_namespaced() {
            metadata["namespace"] = json!(of.name.namespace);
        }
        let applied = |metadata, status| {
            let body = json!({
                "apiVersion": resource.api_version, "kind": resource.kind,
                "metadata": metadata, "status": status,
            });
            (PatchParams::apply(MANAGER).force(), Patch::Apply(body))
        };
        let (parameters, patch) = match status {
            Status::Conditions(conditions) => {
                let status =
                    json!({"conditions": conditions, "observedGeneration": observed.generation});
                applied(metadata, status)
            }
            Status::Mesh(conditions, features) => {
                let status = json!({"conditions": conditions, "supportedFeatures": features});
                applied(metadata, status)
            }
            // The list belongs to all controllers and is one value to the API server: written only if nobody else has
            // written since.
            Status::Parents(parents) => {
                metadata["resourceVersion"] = json!(observed.resource_version);
                let body = json!({"metadata": metadata, "status": {"parents": parents}});
                (PatchParams::default(), Patch::Merge(body))
            }
        };
        api.patch_status(&of.name.name, &parameters, &patch).await?;
        Ok(())
    }
}
