//! One generation as all nodes' sessions share it, arranged so that cutting a node's part costs what the node uses and
//! not what the mesh holds: the index is shared whole, pods lie ready by node, the rest is picked by id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use weft_compile::{Compiled, Diagnostic};
use weft_model::delta::{Delta, diff};
use weft_model::pod::LocalPod;
use weft_model::table::{Interest, Tables};
use weft_wire::table::Digest;

use crate::source::Manifests;

/// Counts generations, for the whole mesh and for single nodes: no number is given twice, so a generation names its
/// content wherever it is met.
#[derive(Clone, Debug, Default)]
pub struct Generations(Arc<AtomicU64>);

impl Generations {
    /// A number that nobody has had.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A node has been sent this number, perhaps by an operator before us: count on above it. This is all that a
    /// restarted operator needs to know of its past. Returns whether it was news.
    pub fn count_above(&self, seen: u64) -> bool {
        self.0.fetch_max(seen, Ordering::Relaxed) < seen
    }
}

/// Tables of one generation, and the findings that came with them.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Generation; 0: nothing has been published yet.
    pub generation: u64,
    /// When it was published; the writer sets it.
    pub since: Option<Instant>,
    /// What it was compiled from.
    manifests: Arc<Manifests>,
    /// Everything that compile gave.
    pub compiled: Arc<Compiled>,
    /// Findings of compiling and of reading, sorted.
    pub diagnostics: Arc<[Diagnostic]>,
    /// Tables with nothing but the index and the namespaces: what every node gets whole.
    index: Arc<Tables>,
    index_digest: Digest,
    /// Tables without index and pods.
    body: Arc<Tables>,
    pods: Arc<BTreeMap<String, BTreeMap<String, Arc<LocalPod>>>>,
}

/// A node's part of one generation.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Generation as the node knows it: that of the mesh, or one of its own when only its interest has changed.
    pub number: u64,
    /// Generation of the mesh that it shows.
    pub of: u64,
    /// Index and namespaces, shared with every other node.
    index: Arc<Tables>,
    index_digest: Digest,
    /// All but the index.
    items: Tables,
    items_digest: Digest,
}

impl Published {
    /// The next generation with these tables; what is as before is shared with `self`.
    #[must_use]
    pub fn next(&self, generation: u64, compiled: Compiled, diagnostics: Vec<Diagnostic>) -> Self {
        let tables = &compiled.tables;
        let index = only_index(tables);
        let (index, index_digest) = if index == *self.index {
            (Arc::clone(&self.index), self.index_digest)
        } else {
            let mut digest = self.index_digest;
            let mut followed = (*self.index).clone();
            digest.apply(&mut followed, diff(&self.index, &index));
            (Arc::new(index), digest)
        };
        let mut pods: BTreeMap<String, BTreeMap<String, Arc<LocalPod>>> = BTreeMap::new();
        for (uid, pod) in &tables.pods {
            let node = pods.entry(pod.workload.node.clone()).or_default();
            node.insert(uid.clone(), Arc::clone(pod));
        }
        let body = Tables {
            services: tables.services.clone(),
            endpoints: tables.endpoints.clone(),
            policies: tables.policies.clone(),
            workloads: tables.workloads.clone(),
            ..Tables::default()
        };
        Self {
            generation,
            since: None,
            diagnostics: diagnostics.into(),
            compiled: Arc::new(compiled),
            manifests: Arc::default(),
            index,
            index_digest,
            body: Arc::new(body),
            pods: Arc::new(pods),
        }
    }

    /// The same with the files that it was made of.
    #[must_use]
    pub fn made_of(self, manifests: Arc<Manifests>) -> Self {
        Self { manifests, ..self }
    }

    /// What it was compiled from.
    #[must_use]
    pub fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// Every file that this generation knows, with its change time, as `/debug/manifests` shows them: whoever saves a
    /// file can tell when it counts.
    #[must_use]
    pub fn manifests_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.manifests.files).unwrap_or_default()
    }

    /// The findings as JSON, as `/debug/diagnostics` shows them.
    #[must_use]
    pub fn diagnostics_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&*self.diagnostics).unwrap_or_default()
    }

    /// What a node gets, still without a number, and what leads to it from `before`. The digest follows from `before`
    /// by the difference alone.
    #[must_use]
    pub fn slice(&self, node: &str, interest: &Interest, before: &Slice) -> (Slice, Delta) {
        let mut items = self.body.slice(node, interest);
        items.pods = self.pods.get(node).cloned().unwrap_or_default();
        let changes = diff(&before.items, &items);
        let mut items_digest = before.items_digest;
        if !changes.is_empty() {
            let mut followed = before.items.clone();
            items_digest.apply(&mut followed, changes.clone());
        }
        let mut delta = if Arc::ptr_eq(&before.index, &self.index) {
            Delta::new()
        } else {
            diff(&before.index, &self.index)
        };
        delta.extend(changes);
        let slice = Slice {
            number: 0,
            of: self.generation,
            index: Arc::clone(&self.index),
            index_digest: self.index_digest,
            items,
            items_digest,
        };
        (slice, delta)
    }
}

impl Slice {
    /// Digest of the whole slice.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.index_digest.plus(self.items_digest)
    }

    /// The slice as the node will know it.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The slice as one value, for tests and for people.
    #[must_use]
    pub fn tables(&self) -> Tables {
        Tables {
            index: self.index.index.clone(),
            namespaces: Arc::clone(&self.index.namespaces),
            ..self.items.clone()
        }
    }
}

fn only_index(tables: &Tables) -> Tables {
    Tables {
        index: tables.index.clone(),
        namespaces: Arc::clone(&tables.namespaces),
        ..Tables::default()
    }
}
