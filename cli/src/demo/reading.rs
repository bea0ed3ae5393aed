//! Looks at all proxies' counters, summed by edge as their clients saw them (`reporter="source"`), and the
//! difference of two looks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use weft_lab::Lab;
use weft_lab::verb::metrics::{Sample, scrape_families};

use crate::demo::edges::Edge;

const REQUESTS: &str = "istio_requests_total";
const LATENCY: &str = "istio_request_duration_milliseconds_bucket";
const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
/// The families that are read.
const FAMILIES: [&str; 4] = [REQUESTS, LATENCY, OPENED, CLOSED];

/// Counters of one edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// HTTP requests by version of the server, code and flags.
    pub(crate) requests: BTreeMap<Outcome, f64>,
    /// Latency: upper bound in microseconds → observations at or below; the last bound is `u64::MAX`.
    pub(crate) buckets: BTreeMap<u64, f64>,
    /// TCP connections opened, by version of the server.
    pub(crate) opened: BTreeMap<String, f64>,
    /// TCP connections that ended badly.
    pub(crate) broken: f64,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    /// Version of the server.
    pub(crate) version: String,
    /// `response_code`; 0 when there was no response.
    pub(crate) code: u16,
    /// `response_flags`; `-` when there is nothing to say.
    pub(crate) flags: String,
}

impl Outcome {
    /// No server error, and an answer.
    pub(crate) fn is_good(&self) -> bool {
        (1..500).contains(&self.code)
    }
}

/// All edges at one moment, or between two.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// When.
    pub(crate) at: Instant,
    /// By edge.
    pub(crate) edges: BTreeMap<Edge, Counts>,
}

/// Adds up what the proxies count, over their restarts: a counter that fell began anew.
#[derive(Default)]
pub(crate) struct Meter {
    last: BTreeMap<SocketAddr, BTreeMap<Edge, Counts>>,
    total: BTreeMap<Edge, Counts>,
}

impl Meter {
    /// Asks all proxies. One that does not answer is left out, and named.
    pub(crate) async fn read(&mut self, lab: &Lab) -> (Reading, Vec<String>) {
        let at = Instant::now();
        let mut silent = Vec::new();
        for address in lab.proxy_metrics() {
            match scrape_families(address, &FAMILIES).await {
                Ok(samples) => self.take(address, &samples),
                Err(error) => silent.push(format!("proxy at {address}: {error:#}")),
            }
        }
        (
            Reading {
                at,
                edges: self.total.clone(),
            },
            silent,
        )
    }

    fn take(&mut self, address: SocketAddr, samples: &[Sample]) {
        let mut page = Reading {
            at: Instant::now(),
            edges: BTreeMap::new(),
        };
        samples.iter().for_each(|sample| page.add(sample));
        let last = self.last.remove(&address).unwrap_or_default();
        let empty = Counts::default();
        for (edge, counts) in &page.edges {
            let grown = counts.since(last.get(edge).unwrap_or(&empty));
            self.total.entry(edge.clone()).or_default().merge(&grown);
        }
        self.last.insert(address, page.edges);
    }
}

impl Reading {
    fn add(&mut self, sample: &Sample) {
        if sample.label("reporter") != "source" {
            return;
        }
        let edge = Edge {
            source_namespace: sample.label("source_workload_namespace").to_owned(),
            source: sample.label("source_canonical_service").to_owned(),
            namespace: sample.label("destination_service_namespace").to_owned(),
            service: sample.label("destination_service_name").to_owned(),
        };
        let version = sample.label("destination_canonical_revision").to_owned();
        let flags = sample.label("response_flags").to_owned();
        let counts = self.edges.entry(edge).or_default();
        match sample.name.as_str() {
            REQUESTS => {
                let code = sample.label("response_code").parse().unwrap_or(0);
                *counts
                    .requests
                    .entry(Outcome {
                        version,
                        code,
                        flags,
                    })
                    .or_default() += sample.value;
            }
            LATENCY => {
                *counts.buckets.entry(bound(sample.label("le"))).or_default() += sample.value
            }
            OPENED => *counts.opened.entry(version).or_default() += sample.value,
            CLOSED if flags != "-" => counts.broken += sample.value,
            _ => {}
        }
    }

    /// What happened since `older`.
    pub(crate) fn since(&self, older: &Self) -> Self {
        let empty = Counts::default();
        let edges = self.edges.iter().map(|(edge, counts)| {
            (
                edge.clone(),
                counts.since(older.edges.get(edge).unwrap_or(&empty)),
            )
        });
        Self {
            at: self.at,
            edges: edges.collect(),
        }
    }
}

impl Counts {
    fn since(&self, older: &Self) -> Self {
        Self {
            requests: difference(&self.requests, &older.requests),
            buckets: difference(&self.buckets, &older.buckets),
            opened: difference(&self.opened, &older.opened),
            broken: growth(self.broken, older.broken),
        }
    }

    /// Adds another edge's counters.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (outcome, count) in &other.requests {
            *self.requests.entry(outcome.clone()).or_default() += count;
        }
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
        for (version, count) in &other.opened {
            *self.opened.entry(version.clone()).or_default() += count;
        }
        self.broken += other.broken;
    }
}

fn difference<K: Clone + Ord>(
    newer: &BTreeMap<K, f64>,
    older: &BTreeMap<K, f64>,
) -> BTreeMap<K, f64> {
    let before = |key: &K| older.get(key).copied().unwrap_or(0.0);
    newer
        .iter()
        .map(|(key, count)| (key.clone(), growth(*count, before(key))))
        .collect()
}

/// How much a counter grew; one that fell began at zero in between.
fn growth(newer: f64, older: f64) -> f64 {
    if newer < older { newer } else { newer - older }
}

/// `le` in milliseconds → microseconds.
fn bound(le: &str) -> u64 {
    match le.parse::<f64>() {
        Ok(millis) if millis.is_finite() => (millis * 1000.0).round() as u64,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_lab::verb::metrics::parse;

    #[test]
    fn counters_are_summed_by_edge_as_clients_saw_them() {
        let labels = "source_workload_namespace=\"shop\",source_canonical_service=\"web\",destination_service_namespace=\"shop\",destination_service_name=\"cart\",destination_canonical_revision=\"v1\",response_flags=\"-\"";
        let text = format!(
            "{REQUESTS}{{reporter=\"source\",{labels},response_code=\"200\"}} 5\n\
             {REQUESTS}{{reporter=\"destination\",{labels},response_code=\"200\"}} 5\n\
             {LATENCY}{{reporter=\"source\",{labels},le=\"0.5\"}} 3\n\
             {LATENCY}{{reporter=\"source\",{labels},le=\"+Inf\"}} 5\n\
             {OPENED}{{reporter=\"source\",{labels}}} 2\n"
        );
        let mut reading = Reading {
            at: Instant::now(),
            edges: BTreeMap::new(),
        };
        parse(&text).iter().for_each(|s| reading.add(s));
        let counts = reading.edges.values().next().unwrap();
        assert_eq!(counts.requests.values().sum::<f64>(), 5.0);
        assert_eq!(counts.buckets, [(500, 3.0), (u64::MAX, 5.0)].into());
        let none = reading.since(&reading);
        assert_eq!(none.edges.values().next().unwrap().opened["v1"], 0.0);
    }

    #[test]
    fn a_proxy_that_began_anew_loses_nothing() {
        let page = |count: u32| {
            parse(&format!(
                "{REQUESTS}{{reporter=\"source\",response_code=\"200\"}} {count}\n"
            ))
        };
        let mut meter = Meter::default();
        let address = "10.255.0.11:15020".parse().unwrap();
        for count in [10, 15, 3, 4] {
            meter.take(address, &page(count));
        }
        let counts = meter.total.values().next().unwrap();
        assert_eq!(counts.requests.values().sum::<f64>(), 19.0);
    }
}
