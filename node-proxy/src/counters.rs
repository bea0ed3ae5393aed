//! The proxy's own figures, registered with the prometheus crate. None is touched by an ordinary request.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use weft_model::reason::Reason;

/// Figures that are rare enough for a shared atomic.
pub(crate) struct Counters {
    /// Connections reset because the pod had too many.
    pub(crate) refused_connections: IntCounter,
    /// Failures of accept itself (descriptors, memory).
    pub(crate) accept_errors: IntCounter,
    /// Connections that began with the HTTP/2 preface and were carried as bytes.
    pub(crate) http2_as_tcp: IntCounter,
    /// Upstream connections dropped because they said something nobody had asked for.
    pub(crate) unasked_bytes: IntCounter,
    /// Generation of the tables that decide now.
    pub(crate) generation: IntGauge,
    /// Pods served.
    pub(crate) pods: IntGauge,
    /// Access log lines dropped because the writer was behind.
    pub(crate) log_dropped: IntCounter,
    rejected: IntCounterVec,
    mirrored: IntCounterVec,
    idle_upstreams: IntGaugeVec,
}

impl Counters {
    /// Registers everything.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let rejected = IntCounterVec::new(
            Opts::new(
                "weft_connections_rejected_total",
                "Captured connections that were reset before they were carried.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(rejected.clone()))?;
        let mirrored = IntCounterVec::new(
            Opts::new(
                "weft_mirrored_requests_total",
                "Copies of requests by how they ended.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(mirrored.clone()))?;
        let idle_upstreams = IntGaugeVec::new(
            Opts::new("weft_pool_idle_connections", "Idle upstream connections."),
            &["worker"],
        )?;
        registry.register(Box::new(idle_upstreams.clone()))?;
        Ok(Self {
            refused_connections: counter(
                "weft_connections_refused_total",
                "Connections over the limit of their pod.",
            )?,
            accept_errors: counter(
                "weft_accept_errors_total",
                "Accepts that failed for want of descriptors or memory.",
            )?,
            http2_as_tcp: counter(
                "weft_http2_as_tcp_total",
                "HTTP/2 connections that were carried as bytes.",
            )?,
            unasked_bytes: counter(
                "weft_upstream_unasked_bytes_total",
                "Upstream connections that sent more than their answer.",
            )?,
            generation: gauge(
                "weft_tables_generation",
                "Generation of the tables that decide now.",
            )?,
            pods: gauge("weft_proxy_pods", "Pods whose listeners this proxy serves.")?,
            log_dropped: counter(
                "weft_access_log_dropped_total",
                "Access log lines dropped because the disk was slow.",
            )?,
            rejected,
            mirrored,
            idle_upstreams,
        })
    }

    /// Counts a connection that was reset before it was carried.
    pub(crate) fn rejected(&self, reason: Reason) {
        self.rejected.with_label_values(&[reason.details()]).inc();
    }

    /// Counts a copy of a request.
    pub(crate) fn mirrored(&self, outcome: &str) {
        self.mirrored.with_label_values(&[outcome]).inc();
    }

    /// Says how many idle upstream connections a worker keeps.
    pub(crate) fn idle_upstreams(&self, worker: usize, count: usize) {
        let worker = worker.to_string();
        self.idle_upstreams
            .with_label_values(&[worker.as_str()])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
