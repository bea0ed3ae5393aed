//! Manifests to per-node tables and diagnostics; pure and total.
//!
//! `compile` never fails and never logs: what is wrong becomes a `Diagnostic` bound to object, file, line and field,
//! and everything else still compiles. Its output depends on the set of objects only, not on their order, so that
//! two operators agree. References are resolved here; a node never meets a dangling name.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod cluster;
mod code;
mod diagnostic;
mod foundation;
mod host;
mod pass;
mod reuse;
mod selection;
mod workloads;

pub use code::{Code, Level};
pub use diagnostic::Diagnostic;

use weft_k8s::Snapshot;
use weft_model::table::Tables;

use crate::cluster::Cluster;
use crate::diagnostic::Findings;
use crate::foundation::Foundation;

/// What the whole mesh has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Suffix of service names.
    pub cluster_domain: String,
    /// Value of the `*_cluster` labels.
    pub cluster_name: String,
    /// Namespace whose DestinationRules hold for the whole mesh.
    pub root_namespace: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            cluster_name: "Kubernetes".to_owned(),
            root_namespace: "weft-system".to_owned(),
        }
    }
}

/// What came out of a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// Tables of the whole mesh; `Tables::slice` cuts a node's.
    pub tables: Tables,
    /// Findings, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles a snapshot.
#[must_use]
pub fn compile(snapshot: &Snapshot, settings: &Settings) -> Compiled {
    Compiler::default().compile(&Compiled::default(), snapshot, settings)
}

/// Compiles a snapshot and shares every value that is as it was, so that a diff compares pointers.
#[must_use]
pub fn compile_from(previous: &Compiled, snapshot: &Snapshot, settings: &Settings) -> Compiled {
    Compiler::default().compile(previous, snapshot, settings)
}

/// Compiles one snapshot after another. What it gives depends on the snapshot alone; what it remembers only saves
/// work: a changed route does not look at the pods again.
#[derive(Debug, Default)]
pub struct Compiler {
    foundation: Option<Foundation>,
}

impl Compiler {
    /// Compiles a snapshot and shares every value that is as it was in `previous`. The passes, in order, and nothing
    /// else.
    pub fn compile(
        &mut self,
        previous: &Compiled,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Compiled {
        let mut findings = Findings::default();
        let cluster = Cluster::build(snapshot, settings);
        let rules = pass::destination_rules::run(&cluster, &mut findings);
        let kept = self
            .foundation
            .take()
            .filter(|kept| kept.holds_for(snapshot, settings));
        let foundation =
            kept.unwrap_or_else(|| Foundation::build(&cluster, &rules, &previous.tables));
        let mut tables = foundation.tables.clone();
        pass::virtual_services::run(&cluster, &rules, &mut tables, &mut findings);
        pass::unhonoured::run(snapshot, &mut findings);
        findings.extend(&foundation.findings);
        self.foundation = Some(foundation);
        reuse::policies(&previous.tables, &mut tables);
        Compiled {
            tables,
            diagnostics: findings.into_sorted(),
        }
    }
}
