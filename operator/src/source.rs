//! Where manifests come from. A source gives the whole set of objects each time something has changed; it is free to be
//! slow or to repeat itself, but it gives nothing before it has read everything once (hardening V111).

pub mod dir;
pub mod files;
pub mod kubernetes;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weft_k8s::{Kind, Name, ParseError, Snapshot};

/// Everything a source knows at one moment.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The objects.
    pub snapshot: Snapshot,
    /// What could not be read.
    pub errors: Vec<ParseError>,
    /// Objects by kind, for the metrics.
    pub objects: BTreeMap<Kind, usize>,
    /// What was read, by name, with the change time (seconds and nanoseconds since the epoch) of what was read.
    pub files: BTreeMap<String, (i64, i64)>,
}

/// An object of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: Name,
}

/// Who an object is and what its status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Version of its group that it was read in.
    pub version: String,
    /// Its uid: a new object of an old name is told anew.
    pub uid: String,
    /// Number of its spec.
    pub generation: i64,
    /// Version of the object as a whole.
    pub resource_version: String,
    /// Conditions that it carries.
    pub conditions: Vec<Condition>,
    /// What each parent's controller says, as it stands there; only for routes of the Gateway API.
    pub parents: Vec<serde_json::Value>,
    /// What a mesh says that it can do, as it stands there; only for `XMesh`.
    pub features: Vec<serde_json::Value>,
}

/// One condition of an object, as all Kubernetes APIs have them (`meta/v1.Condition`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`, `Programmed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Generation of the object that this is about.
    pub observed_generation: i64,
    /// When `status` changed last, RFC 3339.
    pub last_transition_time: String,
    /// One word for programs.
    pub reason: String,
    /// Words for people.
    pub message: String,
}

/// Takes what a source gives; only the newest counts.
#[derive(Debug)]
pub struct Sink(watch::Sender<Option<Arc<Manifests>>>);

/// The pipeline's end; `None` until the source has read everything once.
pub type Changes = watch::Receiver<Option<Arc<Manifests>>>;

/// A sink and its other end.
#[must_use]
pub fn channel() -> (Sink, Changes) {
    let (sender, receiver) = watch::channel(None);
    (Sink(sender), receiver)
}

impl Sink {
    /// Gives the whole set.
    pub fn give(&self, manifests: Manifests) {
        self.0.send_replace(Some(Arc::new(manifests)));
    }
}

/// One kind of source: a directory, or Kubernetes.
pub trait ManifestSource: Send + 'static {
    /// Gives the whole set once it is known, and again after each change, for as long as it is polled.
    fn watch(self, sink: Sink) -> impl Future<Output = ()> + Send;
}

/// Runs a source until `shutdown`.
pub async fn run(source: impl ManifestSource, sink: Sink, shutdown: CancellationToken) {
    shutdown.run_until_cancelled_owned(source.watch(sink)).await;
}
