//! What a policy is told in its status: whether we accept it, and on how many nodes it is in force. Pure: what the tables
//! are, who has acknowledged them and what the objects carry now goes in; the conditions that must be written come out.
//!
//! `Programmed` is a receipt. Once every node has acknowledged the generation in which an object's spec first counted, it
//! stays as it is: a node that joins later serves nothing before it has the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use weft_compile::{Code, Diagnostic, Level};
use weft_k8s::gateway::{ParentRef, XMeshSpec};
use weft_k8s::{Kind, Snapshot};

use crate::published::Published;
use crate::source::{Condition, Observed, Reference};
use crate::status::NodeStatus;

mod mesh;
mod parents;

pub(crate) use parents::CONTROLLER;

/// We understand the object and do what it says.
pub const ACCEPTED: &str = "Accepted";
/// It is in force.
pub const PROGRAMMED: &str = "Programmed";
/// Findings that a message quotes; `weft analyze` and the operator's page have them all.
const QUOTED: usize = 3;
/// Longest message, bytes; the API allows 32 KiB, people read less.
const LONGEST: usize = 1024;

/// What an object shall carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The object.
    pub of: Reference,
    /// What it carries now.
    pub observed: Observed,
    /// What it shall carry.
    pub status: Status,
}

/// Where a kind has its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// One list for the object.
    Conditions(Vec<Condition>),
    /// One list for each parent, with those of other controllers.
    Parents(Vec<Value>),
    /// One list for the mesh, and what it can do.
    Mesh(Vec<Condition>, Vec<Value>),
}

/// Since when an object's spec counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    uid: String,
    generation: i64,
    /// Generation of the mesh.
    since: u64,
}

/// Remembers in which generation of the mesh each spec began to count.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<Reference, Counted>);

impl Ledger {
    /// Takes note of a generation of the mesh. `carried` names the objects that there are.
    pub fn note(&mut self, published: &Published, carried: &BTreeMap<Reference, Observed>) {
        let snapshot = &published.manifests().snapshot;
        self.0.retain(|of, _| carried.contains_key(of));
        for of in carried.keys() {
            let Some(metadata) = snapshot.metadata(of.kind, &of.name) else {
                continue;
            };
            let same = self.0.get(of).is_some_and(|counted| {
                counted.uid == metadata.uid && counted.generation == metadata.generation
            });
            if !same {
                let counted = Counted {
                    uid: metadata.uid.clone(),
                    generation: metadata.generation,
                    since: published.generation,
                };
                self.0.insert(of.clone(), counted);
            }
        }
    }

    /// Objects whose conditions are not what they should be, and whether any of them waits for nodes. `now` is RFC 3339.
    #[must_use]
    pub fn wanted(
        &self,
        published: &Published,
        carried: &BTreeMap<Reference, Observed>,
        nodes: &[NodeStatus],
        now: &str,
    ) -> (Vec<Wanted>, bool) {
        let findings = by_object(&published.diagnostics);
        let nodes = Nodes::new(nodes);
        let (mut wanted, mut waiting) = (Vec::new(), false);
        for (of, observed) in carried {
            let none = Vec::new();
            let name = of.name.to_string();
            let findings = findings
                .get(&(of.kind.name(), name.as_str()))
                .unwrap_or(&none);
            let unreadable = findings
                .iter()
                .any(|finding| finding.code == Code::Unreadable);
            let counted = self.0.get(of).filter(|counted| {
                counted.uid == observed.uid && counted.generation == observed.generation
            });
            let programmed = match counted {
                _ if unreadable => said(
                    "False",
                    "Invalid",
                    "not in force; what it said before it was broken is".to_owned(),
                ),
                Some(counted) => nodes.programmed(counted.since),
                // Not compiled yet: there is nothing to say about this spec.
                None => {
                    waiting = true;
                    continue;
                }
            };
            waiting |= programmed.reason == "Pending";
            let status = match kind_of_status(&published.manifests().snapshot, of) {
                Shape::Plain => plain(findings, programmed, observed, now),
                Shape::Route(parents) => {
                    parents::status(parents, findings, &programmed, observed, now)
                }
                Shape::Mesh(spec) => mesh::status(spec, programmed, observed, now),
            };
            wanted.extend(status.map(|status| Wanted {
                of: of.clone(),
                observed: observed.clone(),
                status,
            }));
        }
        (wanted, waiting)
    }
}

/// What an object's status looks like.
enum Shape<'s> {
    Plain,
    Route(&'s [ParentRef]),
    Mesh(&'s XMeshSpec),
}

fn kind_of_status<'s>(snapshot: &'s Snapshot, of: &Reference) -> Shape<'s> {
    let shape = match of.kind {
        Kind::HTTPRoute => snapshot
            .http_routes
            .get(&of.name)
            .map(|route| Shape::Route(&route.value.spec.parent_refs)),
        Kind::GRPCRoute => snapshot
            .grpc_routes
            .get(&of.name)
            .map(|route| Shape::Route(&route.value.spec.parent_refs)),
        Kind::XMesh => snapshot
            .meshes
            .get(&of.name)
            .map(|mesh| Shape::Mesh(&mesh.value.spec)),
        _ => None,
    };
    shape.unwrap_or(Shape::Plain)
}

/// One list of conditions for the object, unless it has them already.
fn plain(
    findings: &[&Diagnostic],
    programmed: Condition,
    observed: &Observed,
    now: &str,
) -> Option<Status> {
    let carried = (&observed.conditions[..], observed.generation);
    let conditions = [(ACCEPTED, accepted(findings)), (PROGRAMMED, programmed)];
    let conditions = conditions.map(|(kind, said)| complete(kind, said, carried, now));
    let different = conditions
        .iter()
        .any(|new| !observed.conditions.contains(new));
    different.then(|| Status::Conditions(conditions.into()))
}

type ByObject<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Diagnostic>>;

fn by_object(findings: &[Diagnostic]) -> ByObject<'_> {
    let mut map = ByObject::new();
    for finding in findings {
        let of = (finding.kind.as_str(), finding.name.as_str());
        map.entry(of).or_default().push(finding);
    }
    map
}

fn said(status: &str, reason: &str, message: String) -> Condition {
    Condition {
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        ..Condition::default()
    }
}

fn accepted(findings: &[&Diagnostic]) -> Condition {
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .collect();
    if !errors.is_empty() {
        return said("False", "Invalid", quote(errors.into_iter()));
    }
    taken(findings, "AcceptedWithWarnings")
}

/// Accepted; with warnings it names them, under `reason`.
fn taken(findings: &[&Diagnostic], reason: &str) -> Condition {
    let warnings: Vec<_> = findings
        .iter()
        .filter(|finding| finding.level == Level::Warning)
        .collect();
    if warnings.is_empty() {
        return said("True", "Accepted", "accepted".to_owned());
    }
    said("True", reason, quote(warnings.into_iter()))
}

/// The first findings, one after the other.
fn quote<'a>(findings: impl ExactSizeIterator<Item = &'a &'a Diagnostic>) -> String {
    let more = findings.len().saturating_sub(QUOTED);
    let mut text = String::new();
    for finding in findings.take(QUOTED) {
        // Writing to a string does not fail.
        let _ = match finding.field.as_str() {
            "" => write!(text, "[{}] {}. ", finding.code, finding.message),
            field => write!(text, "[{}] {field}: {}. ", finding.code, finding.message),
        };
    }
    if more > 0 {
        let _ = write!(text, "And {more} more.");
    }
    let end = (0..=LONGEST.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text.trim_end().to_owned()
}

/// Proxies by node: what the oldest proxy of each node has acknowledged, and its last refusal.
struct Nodes<'a>(BTreeMap<&'a str, (u64, Option<&'a str>)>);

impl<'a> Nodes<'a> {
    fn new(rows: &'a [NodeStatus]) -> Self {
        let mut nodes: BTreeMap<&str, (u64, Option<&str>)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.kind == "proxy") {
            let refusal = row.last_nack.as_ref().map(|nack| nack.reason.as_str());
            let node = nodes.entry(&row.node).or_insert((row.acked, refusal));
            node.0 = node.0.min(row.acked);
        }
        Self(nodes)
    }

    fn programmed(&self, since: u64) -> Condition {
        let all = self.0.len();
        let behind: BTreeSet<&str> = self
            .0
            .iter()
            .filter(|(_, (acked, _))| *acked < since)
            .map(|(name, _)| *name)
            .collect();
        let text = format!("generation {since} on {}/{all} nodes", all - behind.len());
        if all == 0 {
            return said(
                "False",
                "NoNodes",
                format!("generation {since} is ready; no node is connected to this operator"),
            );
        }
        let Some(first) = behind.first() else {
            return said("True", "Programmed", text);
        };
        match self.0.get(first).and_then(|(_, refusal)| *refusal) {
            Some(refusal) => said(
                "False",
                "Refused",
                format!("{text}; node {first} refuses it: {refusal}"),
            ),
            None => said(
                "False",
                "Pending",
                format!("{text}; waiting for node {first}"),
            ),
        }
    }
}

/// Names a condition and gives it its time: the old one unless the status has changed.
fn complete(
    kind: &str,
    said: Condition,
    (carried, generation): (&[Condition], i64),
    now: &str,
) -> Condition {
    let before = carried.iter().find(|before| before.kind == kind);
    if let Some(before) = before.filter(|before| is_receipt(before, &said, generation)) {
        return before.clone();
    }
    let time = before
        .filter(|before| before.status == said.status && !before.last_transition_time.is_empty())
        .map_or(now, |before| &before.last_transition_time);
    Condition {
        kind: kind.to_owned(),
        observed_generation: generation,
        last_transition_time: time.to_owned(),
        ..said
    }
}

/// Whether `before` is a receipt for this very spec that nothing but a change in who is connected speaks against.
fn is_receipt(before: &Condition, said: &Condition, generation: i64) -> bool {
    before.kind == PROGRAMMED
        && before.status == "True"
        && before.observed_generation == generation
        && matches!(said.reason.as_str(), "Programmed" | "Pending" | "NoNodes")
}

#[cfg(test)]
mod tests;
