//! Who is connected and what they run, for `/debug/nodes`, `weft wait` and people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use weft_wire::table::PodTrouble;

/// One connected program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Node.
    pub node: String,
    /// `agent` or `proxy`.
    pub kind: &'static str,
    /// Version of the program.
    pub version: String,
    /// Generation of the mesh last sent; 0: none on this connection.
    pub sent: u64,
    /// Generation of the mesh in use there; 0: none that we know.
    pub acked: u64,
    /// The number under which the node knows what it was sent last: higher than `sent` when it has asked for more since.
    pub number: u64,
    /// The last refusal on this connection.
    pub last_nack: Option<NackStatus>,
    /// Since when `acked` is so.
    #[serde(skip)]
    pub acked_since: Instant,
    /// Pods that this agent cannot capture.
    #[serde(skip)]
    pub troubles: Vec<PodTrouble>,
}

impl NodeStatus {
    /// A program that should be connected and is not.
    #[must_use]
    pub fn away(node: &str, kind: &'static str) -> Self {
        Self {
            node: node.to_owned(),
            kind,
            version: String::new(),
            sent: 0,
            acked: 0,
            number: 0,
            last_nack: None,
            acked_since: Instant::now(),
            troubles: Vec::new(),
        }
    }

    /// The program uses this generation of the mesh now.
    pub fn uses(&mut self, generation: u64) {
        if self.acked != generation {
            self.acked = generation;
            self.acked_since = Instant::now();
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NackStatus {
    /// Generation that was refused.
    pub generation: u64,
    /// Why.
    pub reason: String,
}

#[derive(Serialize)]
struct Page {
    version: &'static str,
    generation: u64,
    nodes: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    status: NodeStatus,
    acked_seconds: u64,
}

/// All connected programs, by connection.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    connections: Arc<Mutex<(u64, BTreeMap<u64, NodeStatus>)>>,
}

/// One connection's row; it goes when this is dropped.
#[derive(Debug)]
pub struct Row {
    nodes: Nodes,
    number: u64,
}

impl Nodes {
    /// Adds a row.
    #[must_use]
    pub fn add(&self, status: NodeStatus) -> Row {
        let mut connections = self.lock();
        connections.0 += 1;
        let number = connections.0;
        connections.1.insert(number, status);
        Row {
            nodes: self.clone(),
            number,
        }
    }

    /// All rows by node, kind and age.
    #[must_use]
    pub fn list(&self) -> Vec<NodeStatus> {
        let mut rows: Vec<NodeStatus> = self.lock().1.values().cloned().collect();
        rows.sort_by(|a, b| (&a.node, a.kind).cmp(&(&b.node, b.kind)));
        rows
    }

    /// All rows as JSON, beside the mesh's newest generation: a node whose `acked` is as high runs what was saved last.
    #[must_use]
    pub fn to_json(&self, generation: u64) -> Vec<u8> {
        let shown = |status: NodeStatus| Shown {
            acked_seconds: status.acked_since.elapsed().as_secs(),
            status,
        };
        let page = Page {
            version: crate::app::VERSION,
            generation,
            nodes: self.list().into_iter().map(shown).collect(),
        };
        serde_json::to_vec_pretty(&page).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, NodeStatus>)> {
        // Rows are plain values: whole whatever panicked while it held the lock.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    /// Changes the row.
    pub fn update(&self, change: impl FnOnce(&mut NodeStatus)) {
        if let Some(status) = self.nodes.lock().1.get_mut(&self.number) {
            change(status);
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.nodes.lock().1.remove(&self.number);
    }
}
