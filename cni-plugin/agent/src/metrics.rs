//! What the agent counts. Names and labels are few and fixed.

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use weft_wire::cni::Answer;

use crate::debug;
use crate::install::watch::State;
use crate::pods::Pods;
use crate::trouble::Kind;

/// Seconds; ADD should take 30 ms alone and 150 ms among a hundred.
const BUCKETS: [f64; 11] = [
    0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.5, 1.5, 5.0,
];

/// States of pods that we hold something of, as `debug::state` spells them.
const STATES: [&str; 4] = ["found", "offered", "captured", "releasing"];

/// The metrics.
pub(crate) struct Metrics {
    pods: IntGaugeVec,
    uncaptured: IntGaugeVec,
    proxies: IntGauge,
    requests: IntCounterVec,
    seconds: HistogramVec,
    conflist: IntGaugeVec,
    conflist_writes: IntGauge,
    repairs: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// Never in practice: names are fixed and registered once.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str, label: &str| -> prometheus::Result<IntGaugeVec> {
            let vec = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let pods = gauges(
            "weft_agent_pods",
            "Pods of this node by how far they are into or out of the mesh.",
            "state",
        )?;
        let uncaptured = gauges(
            "weft_agent_uncaptured_pods",
            "Pods that should be in the mesh and are not, by reason.",
            "reason",
        )?;
        let conflist = gauges(
            "weft_agent_conflist",
            "1 for the state that the CNI configuration is in.",
            "state",
        )?;
        let proxies = IntGauge::new(
            "weft_agent_proxies",
            "Proxies that are connected and take new pods.",
        )?;
        let conflist_writes = IntGauge::new(
            "weft_agent_conflist_writes",
            "Writes of the CNI configuration since the start.",
        )?;
        let requests = Opts::new(
            "weft_agent_cni_requests_total",
            "Calls of the plugin by verb and result.",
        );
        let requests = IntCounterVec::new(requests, &["verb", "result"])?;
        let seconds = HistogramOpts::new(
            "weft_agent_cni_seconds",
            "Time from the plugin's request to the answer.",
        );
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["verb"])?;
        let repairs = IntCounter::new(
            "weft_agent_repairs_total",
            "Pods whose packet rules were changed inside them and made again.",
        )?;
        registry.register(Box::new(repairs.clone()))?;
        registry.register(Box::new(proxies.clone()))?;
        registry.register(Box::new(conflist_writes.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            pods,
            uncaptured,
            proxies,
            requests,
            seconds,
            conflist,
            conflist_writes,
            repairs,
        })
    }

    /// A call of the plugin was answered.
    pub(crate) fn called(&self, verb: &str, answer: &Answer, took: Duration) {
        let result = match answer {
            Answer::Ok { captured: true } => "captured",
            Answer::Ok { captured: false } => "passed",
            Answer::TryAgain { .. } => "try_again",
            Answer::Failed { .. } => "failed",
        };
        self.requests.with_label_values(&[verb, result]).inc();
        self.seconds
            .with_label_values(&[verb])
            .observe(took.as_secs_f64());
    }

    /// The rules of a pod were made again.
    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }

    /// How the conflist is.
    pub(crate) fn conflist(&self, state: State, writes: u64) {
        for each in State::ALL {
            self.conflist
                .with_label_values(&[each.as_str()])
                .set(i64::from(each == state));
        }
        self.conflist_writes
            .set(i64::try_from(writes).unwrap_or(i64::MAX));
    }

    /// How the pods are.
    pub(crate) fn pods(&self, pods: &Pods) {
        let cells = pods.all();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for state in STATES {
            let n = cells
                .iter()
                .filter(|cell| debug::state(cell.shown()) == state)
                .count();
            self.pods.with_label_values(&[state]).set(count(n));
        }
        let troubles: Vec<Kind> = cells
            .iter()
            .filter_map(|cell| cell.trouble())
            .map(|trouble| trouble.kind)
            .collect();
        for kind in Kind::ALL {
            let n = troubles.iter().filter(|each| **each == kind).count();
            self.uncaptured
                .with_label_values(&[kind.as_str()])
                .set(count(n));
        }
        self.proxies.set(count(pods.handover.serving()));
    }
}
