//! Every metric of the project: name, help, type and labels, written once. Programs register from here, the reference
//! page is generated from here.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::labels::{HTTP_LABELS, LABELS};

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Sum and count.
    Summary,
}

impl Kind {
    /// The word of the text format.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Which labels a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The labels of a connection.
    Connection,
    /// The labels of a request.
    Request,
    /// Its own.
    Own(&'static [&'static str]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Meaning and unit, one line.
    pub help: &'static str,
    /// Type.
    pub kind: Kind,
    /// Labels.
    pub labels: Labels,
    /// The programs that have it.
    pub programs: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: Labels,
    programs: &'static str,
    help: &'static str,
) -> Metric {
    Metric {
        name,
        help,
        kind,
        labels,
        programs,
    }
}

/// Declares the metrics and the list of all of them.
macro_rules! metrics {
    ($($constant:ident = $name:literal $kind:ident $labels:expr, $programs:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Metric = metric($name, Kind::$kind, $labels, $programs, $help);)*
        /// All metrics, in the order of the reference.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

use Labels::{Connection, Own, Request};

metrics! {
    REQUESTS = "istio_requests_total" Counter Request, "proxy", "Requests that have ended.";
    REQUEST_DURATION = "istio_request_duration_milliseconds" Histogram Request, "proxy", "Milliseconds from a request's first byte to its answer's last.";
    REQUEST_BYTES = "istio_request_bytes" Histogram Request, "proxy", "Bytes of request bodies.";
    RESPONSE_BYTES = "istio_response_bytes" Histogram Request, "proxy", "Bytes of response bodies.";
    TCP_SENT = "istio_tcp_sent_bytes_total" Counter Connection, "proxy", "Bytes from servers to clients, of connections that are carried as bytes.";
    TCP_RECEIVED = "istio_tcp_received_bytes_total" Counter Connection, "proxy", "Bytes from clients to servers, of connections that are carried as bytes.";
    TCP_OPENED = "istio_tcp_connections_opened_total" Counter Connection, "proxy", "Connections that were opened and are carried as bytes.";
    TCP_CLOSED = "istio_tcp_connections_closed_total" Counter Connection, "proxy", "Connections carried as bytes that were closed, by how they ended.";
    ISTIO_BUILD = "istio_build" Gauge Own(&["component", "tag"]), "proxy", "Constant 1; component and version as Istio's boards read them.";
    METRICS_SERIES = "weft_metrics_series" Gauge Own(&[]), "proxy", "Outcomes of edges that are shown now.";
    METRICS_OVERFLOW = "weft_metrics_overflow_total" Counter Own(&[]), "proxy", "Requests and connections counted in the overflow series because a node shows only so many.";
    BUILD_INFO = "weft_build_info" Gauge Own(&["component", "version"]), "all", "Constant 1; the labels name program and version.";
    TABLES_GENERATION = "weft_tables_generation" Gauge Own(&[]), "proxy", "Generation of the tables that decide now.";
    PROXY_PODS = "weft_proxy_pods" Gauge Own(&[]), "proxy", "Pods whose listeners this proxy serves.";
    CONNECTIONS_REFUSED = "weft_connections_refused_total" Counter Own(&[]), "proxy", "Connections over the limit of their pod.";
    CONNECTIONS_REJECTED = "weft_connections_rejected_total" Counter Own(&["reason"]), "proxy", "Captured connections that were reset before they were carried.";
    ACCEPT_ERRORS = "weft_accept_errors_total" Counter Own(&[]), "proxy", "Accepts that failed for want of descriptors or memory.";
    HTTP2_AS_TCP = "weft_http2_as_tcp_total" Counter Own(&[]), "proxy", "HTTP/2 connections that were carried as bytes.";
    POOL_IDLE = "weft_pool_idle_connections" Gauge Own(&["worker"]), "proxy", "Idle upstream connections.";
    ACCESS_LOG_DROPPED = "weft_access_log_dropped_total" Counter Own(&[]), "proxy", "Access log lines dropped because the disk was slow.";
    UPSTREAM_UNASKED = "weft_upstream_unasked_bytes_total" Counter Own(&[]), "proxy", "Upstream connections that sent more than their answer.";
    MIRRORED = "weft_mirrored_requests_total" Counter Own(&["outcome"]), "proxy", "Copies of requests by how they ended.";
    AGENT_PODS = "weft_agent_pods" Gauge Own(&["state"]), "agent", "Pods of this node by how far they are into or out of the mesh.";
    AGENT_UNCAPTURED = "weft_agent_uncaptured_pods" Gauge Own(&["reason"]), "agent", "Pods that should be in the mesh and are not, by reason.";
    AGENT_PROXIES = "weft_agent_proxies" Gauge Own(&[]), "agent", "Proxies that are connected and take new pods.";
    AGENT_CONFLIST = "weft_agent_conflist" Gauge Own(&["state"]), "agent", "1 for the state that the CNI configuration is in.";
    AGENT_CONFLIST_WRITES = "weft_agent_conflist_writes" Gauge Own(&[]), "agent", "Writes of the CNI configuration since the start.";
    AGENT_REPAIRS = "weft_agent_repairs_total" Counter Own(&[]), "agent", "Pods whose packet rules were changed inside them and made again.";
    AGENT_CNI_REQUESTS = "weft_agent_cni_requests_total" Counter Own(&["verb", "result"]), "agent", "Calls of the plugin by verb and result.";
    AGENT_CNI_SECONDS = "weft_agent_cni_seconds" Histogram Own(&["verb"]), "agent", "Time from the plugin's request to the answer.";
    OPERATOR_GENERATION = "weft_operator_generation" Gauge Own(&[]), "operator", "Newest generation of the tables.";
    OPERATOR_NODES = "weft_operator_nodes" Gauge Own(&["kind"]), "operator", "Connected nodes by program.";
    OPERATOR_ACKS = "weft_operator_acks_total" Counter Own(&[]), "operator", "Deltas that nodes acknowledged.";
    OPERATOR_NACKS = "weft_operator_nacks_total" Counter Own(&[]), "operator", "Deltas that nodes refused.";
    OPERATOR_PUSHES = "weft_operator_pushes_total" Counter Own(&["kind"]), "operator", "Deltas sent: change, or reset (from nothing).";
    OPERATOR_PUSHED_BYTES = "weft_operator_pushed_bytes_total" Counter Own(&[]), "operator", "Bytes of the deltas sent, before compression.";
    OPERATOR_COMPILE = "weft_operator_compile_seconds" Histogram Own(&[]), "operator", "Time of one compilation.";
    OPERATOR_ACK = "weft_operator_ack_seconds" Histogram Own(&[]), "operator", "From publishing a generation to a node's acknowledgement.";
    OPERATOR_OBJECTS = "weft_operator_objects" Gauge Own(&["kind"]), "operator", "Objects read, by kind.";
    OPERATOR_DIAGNOSTICS = "weft_operator_diagnostics" Gauge Own(&["level"]), "operator", "Findings about the manifests, by level.";
}

impl Metric {
    /// The names of its labels.
    #[must_use]
    pub fn label_names(&self) -> Vec<&'static str> {
        let shared = LABELS.iter().map(|label| label.name);
        match self.labels {
            Connection => shared.collect(),
            Request => shared
                .chain(HTTP_LABELS.iter().map(|label| label.0))
                .collect(),
            Own(names) => names.to_vec(),
        }
    }

    /// A registered counter without labels.
    ///
    /// # Errors
    /// Where the registry has one of this name already.
    pub fn counter(&self, registry: &Registry) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::new(self.name, self.help)?;
        registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    /// A registered counter with its labels.
    ///
    /// # Errors
    /// Where the registry has one of this name already.
    pub fn counters(&self, registry: &Registry) -> prometheus::Result<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(self.name, self.help), &self.label_names())?;
        registry.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    /// A registered gauge without labels.
    ///
    /// # Errors
    /// Where the registry has one of this name already.
    pub fn gauge(&self, registry: &Registry) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::new(self.name, self.help)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    /// A registered gauge with its labels.
    ///
    /// # Errors
    /// Where the registry has one of this name already.
    pub fn gauges(&self, registry: &Registry) -> prometheus::Result<IntGaugeVec> {
        let gauges = IntGaugeVec::new(Opts::new(self.name, self.help), &self.label_names())?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }
}

/// The reference page `docs/reference/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Generated from crates/observe/src/catalogue.rs: UPDATE_GOLDEN=1 cargo test -p weft-observe -->\n\n\
         | name | type | labels | program | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels = match metric.labels {
            Connection => "connection labels".to_owned(),
            Request => "request labels".to_owned(),
            Own(names) => names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        page += &format!(
            "| `{}` | {} | {labels} | {} | {} |\n",
            metric.name,
            metric.kind.word(),
            metric.programs,
            metric.help
        );
    }
    page += "\n## Connection labels\n\nNo label is ever empty; what is not known is `unknown`.\n\n| label | meaning |\n|---|---|\n";
    for label in &LABELS {
        page += &format!("| `{}` | {} |\n", label.name, label.help);
    }
    page += "\n## Request labels\n\nThe connection labels and\n\n| label | meaning |\n|---|---|\n";
    for (name, help) in HTTP_LABELS {
        page += &format!("| `{name}` | {help} |\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_well_formed_and_described() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(
                metric.name.starts_with("istio_") || metric.name.starts_with("weft_"),
                "{}",
                metric.name
            );
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert!(
                !metric.help.contains(['\n', '\\', '|']) && metric.help.ends_with('.'),
                "{}",
                metric.name
            );
            let labels = metric.label_names();
            assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len());
        }
    }

    #[test]
    fn the_reference_page_is_what_the_catalogue_says() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/metrics.md"
        );
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            page,
            reference(),
            "run UPDATE_GOLDEN=1 cargo test -p weft-observe"
        );
    }

    /// Source text of the programs and of the libraries that they register metrics from, without white space at line ends.
    fn sources(directory: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() && !matches!(name.as_str(), "target" | "tests" | "observe") {
                sources(&entry, into);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&entry).unwrap();
                into.extend(text.split_whitespace().flat_map(|word| [word, " "]));
            }
        }
    }

    #[test]
    fn the_catalogue_and_the_programs_name_the_same_metrics() {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut source = String::new();
        for directory in ["crates", "node-proxy", "cni-plugin", "operator"] {
            sources(&root.join(directory), &mut source);
        }
        let named = |text: &str| {
            text.starts_with("weft_")
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        // Every other piece between quotes is a literal, unless one holds an escaped quote: therefore all are looked at.
        let used: BTreeSet<&str> = source.split('"').filter(|text| named(text)).collect();
        for name in &used {
            assert!(
                ALL.iter().any(|metric| metric.name == *name),
                "{name} needs a row in crates/observe/src/catalogue.rs"
            );
        }
        let ours = [METRICS_SERIES.name, METRICS_OVERFLOW.name];
        for metric in ALL
            .iter()
            .filter(|metric| metric.name.starts_with("weft_") && !ours.contains(&metric.name))
        {
            // A program registers by its own words or by the catalogue's constant.
            let words =
                source.contains(&format!("\"{}\"", metric.help)) && used.contains(metric.name);
            let constant = source.contains(&format!("catalogue::{}", constant_of(metric)));
            assert!(
                words || constant,
                "{} is in the catalogue and nowhere else, or with another help",
                metric.name
            );
        }
    }

    /// The constant's name, found by the row itself.
    fn constant_of(metric: &Metric) -> String {
        let row = format!("= \"{}\" ", metric.name);
        let line = include_str!("catalogue.rs")
            .lines()
            .find(|line| line.contains(&row))
            .unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    }

    #[test]
    fn everything_registers() {
        let registry = Registry::new();
        TABLES_GENERATION.gauge(&registry).unwrap().set(3);
        POOL_IDLE
            .gauges(&registry)
            .unwrap()
            .with_label_values(&["0"])
            .set(1);
        ACCEPT_ERRORS.counter(&registry).unwrap().inc();
        CONNECTIONS_REJECTED
            .counters(&registry)
            .unwrap()
            .with_label_values(&["own_port"])
            .inc();
        assert_eq!(registry.gather().len(), 4);
        assert!(ACCEPT_ERRORS.counter(&registry).is_err());
    }
}
