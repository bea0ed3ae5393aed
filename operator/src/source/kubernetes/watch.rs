//! The watch of one kind, for ever: finds out which version of it the API server has, lists, watches, and begins anew
//! whenever that ends. A kind that is not installed is an empty one that is asked for again.

use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{ListParams, ObjectMeta};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use weft_k8s::{Kind, Name, parse_object};

use super::cache::{Read, Update};
use crate::source::{Condition, Observed};
use weft_access::reason;

/// How soon a kind that is not installed is asked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A kind that was there is taken for gone after so many looks in a row: an API server that is just starting may not
/// know its own yet, and a route that is forgotten by mistake is an outage.
const LOOKS_BEFORE_GONE: u32 = 5;
/// First pause after a failure ...
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// ... and the longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A watch is opened anew after so many seconds. With [`READ_TIMEOUT`] this finds out that
/// an API server has vanished without a word.
const WATCH_SECONDS: u32 = 60;
/// An answer that stops for so long is given up; longer than a watch may be silent.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(75);
const _: () = assert!(READ_TIMEOUT.as_secs() > WATCH_SECONDS as u64);
/// Status of a watch whose place in the history is no longer known (410).
const EXPIRED: u16 = 410;
/// Objects in one page of a listing.
const PAGE: u32 = 500;

/// One kind's watch.
pub(super) struct Watch {
    pub(super) client: Client,
    pub(super) kind: Kind,
    pub(super) updates: mpsc::Sender<(Kind, Update)>,
}

impl Watch {
    /// Runs for as long as somebody listens.
    pub(super) async fn run(self) {
        // One that was never seen is not there at the first look.
        let mut looks_left = 1_u32;
        while !self.updates.is_closed() {
            match self.served().await {
                Ok(Some(resource)) => {
                    looks_left = LOOKS_BEFORE_GONE;
                    tracing::debug!(kind = %self.kind, version = resource.version, "watching");
                    self.follow(&resource).await;
                }
                Ok(None) => {
                    if looks_left == 1 {
                        tracing::info!(kind = %self.kind, group = self.kind.group(), "not installed; its objects count once it is");
                        self.send(Update::All(Vec::new())).await;
                    }
                    looks_left = looks_left.saturating_sub(1);
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => {
                    self.complain(&error);
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    /// The first of our versions that the API server has; `None` when it has none of them.
    async fn served(&self) -> kube::Result<Option<ApiResource>> {
        for version in self.kind.versions() {
            let gvk = GroupVersionKind::gvk(self.kind.group(), version, self.kind.name());
            let resource = ApiResource::from_gvk_with_plural(&gvk, &self.kind.plural());
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            // The listing itself is asked and not the discovery: while a starting API server does not know its kinds
            // yet, discovery leaves them out, but a listing says 503.
            match api.list_metadata(&ListParams::default().limit(1)).await {
                Ok(_) => return Ok(Some(resource)),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Follows a version until the API server no longer has it.
    async fn follow(&self, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let config = watcher::Config::default()
            .timeout(WATCH_SECONDS)
            .page_size(PAGE);
        let mut events = std::pin::pin!(watcher(api, config).backoff(Pauses(FIRST_PAUSE)));
        let mut listing = Vec::new();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) if is_gone(&error) => return,
                // The usual end of a watch that was away for long: the next step lists anew.
                Err(watcher::Error::WatchError(status)) if status.code == EXPIRED => {
                    tracing::debug!(kind = %self.kind, "the watch has expired");
                    continue;
                }
                Err(error) => {
                    self.complain(&error);
                    continue;
                }
            };
            let update = match event {
                Event::Init => {
                    listing.clear();
                    continue;
                }
                Event::InitApply(object) => {
                    listing.push(read(self.kind, object));
                    continue;
                }
                Event::InitDone => Update::All(std::mem::take(&mut listing)),
                Event::Apply(object) => Update::Put(Box::new(read(self.kind, object))),
                Event::Delete(object) => Update::Gone(name(&object.metadata)),
            };
            if !self.send(update).await {
                return;
            }
        }
    }

    async fn send(&self, update: Update) -> bool {
        self.updates.send((self.kind, update)).await.is_ok()
    }

    fn complain(&self, error: &dyn std::error::Error) {
        let kind = self.kind;
        tracing::warn!(%kind, error = %reason(error), "cannot watch; what was read before stays in force");
    }
}

/// The pause after each failure in a row.
struct Pauses(Duration);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

/// Whether the kind itself is not there.
fn is_gone(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => 0,
    };
    code == 404
}

fn name(metadata: &ObjectMeta) -> Name {
    Name::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn read(kind: Kind, mut object: DynamicObject) -> Read {
    object.metadata.managed_fields = None;
    let name = name(&object.metadata);
    let observed = kind.gets_conditions().then(|| Observed {
        version: object
            .types
            .as_ref()
            .and_then(|types| types.api_version.rsplit('/').next())
            .unwrap_or_default()
            .to_owned(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        conditions: conditions(&object.data),
        parents: list(&object.data, "/status/parents"),
        features: list(&object.data, "/status/supportedFeatures"),
    });
    let metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
    if let Value::Object(fields) = &mut object.data {
        fields.insert("metadata".to_owned(), metadata);
    }
    Read {
        name,
        object: parse_object(kind, &object.data),
        observed,
    }
}

/// A list of a status as it stands there.
fn list(data: &Value, place: &str) -> Vec<Value> {
    let list = data.pointer(place).and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

/// The conditions that an object carries; what is not one is passed over, somebody else wrote it.
fn conditions(data: &Value) -> Vec<Condition> {
    let list = data.pointer("/status/conditions").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|value| serde_json::from_value(value.clone()).ok())
        .collect()
}
