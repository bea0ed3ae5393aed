//! What a check looks at, fetched once. Each part is there or says why it could not be had, so that one missing permission
//! costs one line and not the whole answer.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use weft_k8s::Kind;

use crate::cluster::operator::{CapturePage, Leader, NodesPage};
use crate::cluster::rollout::{self, WORKLOADS};
use crate::cluster::{NAMESPACE, PARTS, find, get, is_true, list, reason, request, text};
use crate::definitions;
use crate::manifests::{self, Choices};

/// Something, or why it is not known.
pub(super) type Known<T> = Result<T, String>;

/// Programs that are asked why they are not ready.
const ASKED: usize = 8;

/// What a program that is not ready says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    /// Its parts that are not up, joined by commas.
    pub(super) parts: String,
    /// An agent's words on the node's network configuration.
    pub(super) installation: String,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Facts {
    /// What the API server says it is.
    pub(super) version: Known<Value>,
    /// All nodes.
    pub(super) nodes: Known<Vec<Value>>,
    /// All namespaces.
    pub(super) namespaces: Known<Vec<Value>>,
    /// All DaemonSets, for those of other meshes.
    pub(super) daemons: Known<Vec<Value>>,
    /// All definitions of kinds.
    pub(super) definitions: Known<Vec<Value>>,
    /// Weft's workloads by name; absent ones are not in it.
    pub(super) workloads: Known<BTreeMap<&'static str, Value>>,
    /// Weft's pods.
    pub(super) pods: Known<Vec<Value>>,
    /// What programs that are not ready say of themselves, by the pod's name.
    pub(super) waiting: BTreeMap<String, Waiting>,
    /// What the operator that leads knows of the nodes.
    pub(super) connected: Known<NodesPage>,
    /// What it knows of pods that are not captured.
    pub(super) uncaptured: Known<CapturePage>,
    /// All policies.
    pub(super) policies: Known<Vec<(Kind, Value)>>,
    /// Kinds that an installation writes, and whether the caller may.
    pub(super) rights: Known<BTreeMap<String, bool>>,
}

fn skipped<T>() -> Known<T> {
    Err("not looked at".to_owned())
}

impl Facts {
    /// Fetches what `check`, or `check --pre`, judges.
    pub(super) async fn gather(client: &Client, pre: bool) -> Self {
        let mut facts = Self {
            version: get(client, "/version")
                .await
                .map_err(|error| reason(&error)),
            nodes: items(client, "/api/v1/nodes").await,
            namespaces: items(client, "/api/v1/namespaces").await,
            daemons: skipped(),
            definitions: items(client, definitions::PATH).await,
            workloads: workloads(client).await,
            pods: skipped(),
            waiting: BTreeMap::new(),
            connected: skipped(),
            uncaptured: skipped(),
            policies: skipped(),
            rights: skipped(),
        };
        if pre {
            facts.daemons = items(client, "/apis/apps/v1/daemonsets").await;
            facts.rights = rights(client).await;
            return facts;
        }
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={PARTS}");
        facts.pods = items(client, &pods).await;
        facts.waiting = waiting(client, facts.pods.as_deref().unwrap_or_default()).await;
        match Leader::find(client).await {
            Ok(leader) => {
                facts.connected = leader.nodes(client).await.map_err(|e| format!("{e:#}"));
                facts.uncaptured = leader
                    .uncaptured(client)
                    .await
                    .map_err(|e| format!("{e:#}"));
            }
            Err(error) => {
                facts.connected = Err(format!("{error:#}"));
                facts.uncaptured = Err("only an operator that leads knows".to_owned());
            }
        }
        facts.policies = policies(client).await;
        facts
    }
}

async fn items(client: &Client, path: &str) -> Known<Vec<Value>> {
    match get(client, path).await {
        Ok(found) => Ok(list(&found, "/items").to_vec()),
        Err(error) => Err(reason(&error)),
    }
}

async fn workloads(client: &Client) -> Known<BTreeMap<&'static str, Value>> {
    let mut all = BTreeMap::new();
    for (plural, name) in WORKLOADS {
        match find(client, &rollout::path(plural, name)).await {
            Ok(Some(found)) => {
                all.insert(name, found);
            }
            Ok(None) => {}
            Err(error) => return Err(reason(&error)),
        }
    }
    Ok(all)
}

/// Asks agents and proxies that are not ready which part of them is not.
async fn waiting(client: &Client, pods: &[Value]) -> BTreeMap<String, Waiting> {
    let mut all = BTreeMap::new();
    // Where nothing runs, nobody answers, and the API server says so only after half a minute.
    let runs = |pod: &&Value| {
        list(pod, "/status/containerStatuses")
            .iter()
            .any(|status| status.pointer("/state/running").is_some())
    };
    let unready = pods
        .iter()
        .filter(|pod| !is_true(pod, "Ready"))
        .filter(runs);
    for pod in unready.take(ASKED) {
        let name = text(pod, "/metadata/name");
        let port = match text(pod, "/metadata/labels/app.kubernetes.io~1name") {
            "weft-agent" => 15019,
            "weft-proxy" => 15021,
            _ => 15014,
        };
        let page = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:{port}/proxy");
        let Ok(request) = request(&format!("{page}/healthz/ready")) else {
            continue;
        };
        // The answer of a program that is not ready is an error with the parts in it.
        if let Err(error) = client.request_text(request).await {
            let said = reason(&error);
            if let Some((_, parts)) = said.split_once("not ready: ") {
                let parts = parts.trim().to_owned();
                let mut installation = Value::Null;
                if parts.contains("plugin") {
                    let page = format!("{page}/debug/installation");
                    installation = get(client, &page).await.unwrap_or_default();
                }
                let installation = text(&installation, "/said").to_owned();
                all.insert(
                    name.to_owned(),
                    Waiting {
                        parts,
                        installation,
                    },
                );
            }
        }
    }
    all
}

/// Of every policy kind that is installed.
async fn policies(client: &Client) -> Known<Vec<(Kind, Value)>> {
    let mut all = Vec::new();
    for kind in Kind::ALL.iter().filter(|kind| kind.gets_conditions()) {
        let version = kind.versions().first().copied().unwrap_or("v1");
        let path = format!("/apis/{}/{version}/{}", kind.group(), kind.plural());
        match find(client, &path).await {
            Ok(found) => {
                let found = found.unwrap_or_default();
                all.extend(
                    list(&found, "/items")
                        .iter()
                        .map(|item| (*kind, item.clone())),
                );
            }
            Err(error) => return Err(format!("{kind}: {}", reason(&error))),
        }
    }
    Ok(all)
}

/// Whether the caller may write each kind that the manifests have; taken from them, so that none is forgotten.
async fn rights(client: &Client) -> Known<BTreeMap<String, bool>> {
    let objects = manifests::objects(&Choices::default()).map_err(|e| format!("{e:#}"))?;
    let definitions = manifests::definitions().map_err(|e| format!("{e:#}"))?;
    let gateway_api = manifests::gateway_api().map_err(|e| format!("{e:#}"))?;
    let kinds: BTreeSet<(String, String)> = objects
        .iter()
        .chain(&definitions)
        .chain(&gateway_api)
        .map(|object| {
            let version = text(object, "/apiVersion");
            (version.to_owned(), text(object, "/kind").to_owned())
        })
        .collect();
    let mut all = BTreeMap::new();
    for (version, kind) in kinds {
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind)).plural;
        for verb in ["create", "patch"] {
            let allowed = may(client, verb, group, &plural).await;
            let allowed = allowed.map_err(|error| reason(&error))?;
            all.insert(format!("{verb} {plural}"), allowed);
        }
    }
    Ok(all)
}

async fn may(client: &Client, verb: &str, group: &str, plural: &str) -> kube::Result<bool> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": verb, "group": group, "resource": plural, "namespace": NAMESPACE}},
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    let answer: Value = client.request(request).await?;
    Ok(answer.pointer("/status/allowed") == Some(&json!(true)))
}
