//! The operator's own figures, registered once and named nowhere else. Durations are in seconds, sizes in bytes.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use weft_compile::{Diagnostic, Level};
use weft_k8s::Kind;

use crate::source::Manifests;

/// Buckets of durations, seconds.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

/// All of them; clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    generation: IntGauge,
    nodes: IntGaugeVec,
    acks: IntCounter,
    nacks: IntCounter,
    pushes: IntCounterVec,
    pushed_bytes: IntCounter,
    compile: Histogram,
    ack: Histogram,
    objects: IntGaugeVec,
    diagnostics: IntGaugeVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            generation: IntGauge::new(
                "weft_operator_generation",
                "Newest generation of the tables.",
            )?,
            nodes: IntGaugeVec::new(
                Opts::new("weft_operator_nodes", "Connected nodes by program."),
                &["kind"],
            )?,
            acks: IntCounter::new(
                "weft_operator_acks_total",
                "Deltas that nodes acknowledged.",
            )?,
            nacks: IntCounter::new("weft_operator_nacks_total", "Deltas that nodes refused.")?,
            pushes: IntCounterVec::new(
                Opts::new(
                    "weft_operator_pushes_total",
                    "Deltas sent: change, or reset (from nothing).",
                ),
                &["kind"],
            )?,
            pushed_bytes: IntCounter::new(
                "weft_operator_pushed_bytes_total",
                "Bytes of the deltas sent, before compression.",
            )?,
            compile: Histogram::with_opts(
                HistogramOpts::new("weft_operator_compile_seconds", "Time of one compilation.")
                    .buckets(SECONDS.to_vec()),
            )?,
            ack: Histogram::with_opts(
                HistogramOpts::new(
                    "weft_operator_ack_seconds",
                    "From publishing a generation to a node's acknowledgement.",
                )
                .buckets(SECONDS.to_vec()),
            )?,
            objects: IntGaugeVec::new(
                Opts::new("weft_operator_objects", "Objects read, by kind."),
                &["kind"],
            )?,
            diagnostics: IntGaugeVec::new(
                Opts::new(
                    "weft_operator_diagnostics",
                    "Findings about the manifests, by level.",
                ),
                &["level"],
            )?,
        };
        metrics.register(registry)?;
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.generation.clone()))?;
        registry.register(Box::new(self.nodes.clone()))?;
        registry.register(Box::new(self.acks.clone()))?;
        registry.register(Box::new(self.nacks.clone()))?;
        registry.register(Box::new(self.pushes.clone()))?;
        registry.register(Box::new(self.pushed_bytes.clone()))?;
        registry.register(Box::new(self.compile.clone()))?;
        registry.register(Box::new(self.ack.clone()))?;
        registry.register(Box::new(self.objects.clone()))?;
        registry.register(Box::new(self.diagnostics.clone()))
    }

    pub(crate) fn generation(&self, generation: u64) {
        self.generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    pub(crate) fn compiled(&self, seconds: f64, manifests: &Manifests, findings: &[Diagnostic]) {
        self.compile.observe(seconds);
        for kind in Kind::ALL.iter().chain(&[Kind::Other]) {
            let count = manifests.objects.get(kind).copied().unwrap_or(0);
            self.objects
                .with_label_values(&[kind.name()])
                .set(whole(count));
        }
        for (level, name) in [
            (Level::Error, "error"),
            (Level::Warning, "warning"),
            (Level::Info, "info"),
        ] {
            let count = findings
                .iter()
                .filter(|finding| finding.level == level)
                .count();
            self.diagnostics
                .with_label_values(&[name])
                .set(whole(count));
        }
    }

    pub(crate) fn connected(&self, kind: &str, change: i64) {
        self.nodes.with_label_values(&[kind]).add(change);
    }

    pub(crate) fn pushed(&self, reset: bool, bytes: usize) {
        self.pushes
            .with_label_values(&[if reset { "reset" } else { "change" }])
            .inc();
        self.pushed_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn acked(&self, since_published: Option<std::time::Duration>) {
        self.acks.inc();
        if let Some(since) = since_published {
            self.ack.observe(since.as_secs_f64());
        }
    }

    pub(crate) fn nacked(&self) {
        self.nacks.inc();
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
