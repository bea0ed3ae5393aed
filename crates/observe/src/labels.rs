//! The labels that every series carries, in one table: encoder, documentation and tests all read it.
//!
//! No label is ever empty: Kiali drops a series that lacks one, and Prometheus takes empty for missing. What is not
//! known is the word `unknown`.

use std::sync::Arc;

use weft_model::id::ObjectName;
use weft_model::workload::Workload;

/// The value of a label that nobody knows.
pub const UNKNOWN: &str = "unknown";
/// Cluster of a peer whose workload is not known: Kiali needs it as soon as a namespace is there.
const DEFAULT_CLUSTER: &str = "Kubernetes";
/// Istio's name for what lies outside the mesh.
const PASSTHROUGH: &str = "PassthroughCluster";
/// The value of all labels of the series that takes what is over the limit.
pub(crate) const OVERFLOW: &str = "overflow";

/// One side of an edge, as labels name it. Pods of one workload and version are one peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Owner: Deployment, StatefulSet, … or the pod itself.
    pub workload: String,
    /// Namespace.
    pub namespace: String,
    /// Canonical service.
    pub canonical_service: String,
    /// Canonical revision.
    pub canonical_revision: String,
    /// App.
    pub app: String,
    /// Version.
    pub version: String,
    /// SPIFFE URI that the peer has proven, else `unknown`.
    pub principal: String,
    /// Cluster.
    pub cluster: String,
}

impl Peer {
    /// The peer that a workload is; it has proven no identity.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        Self {
            workload: known(&workload.workload),
            namespace: known(&workload.pod.namespace),
            canonical_service: known(&workload.canonical_service),
            canonical_revision: known_or(&workload.canonical_revision, "latest"),
            app: known(&workload.app),
            version: known(&workload.version),
            principal: UNKNOWN.to_owned(),
            cluster: known_or(&workload.cluster, DEFAULT_CLUSTER),
        }
    }

    /// A peer of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::all(UNKNOWN)
    }

    fn all(word: &str) -> Self {
        let word = || word.to_owned();
        Self {
            workload: word(),
            namespace: word(),
            canonical_service: word(),
            canonical_revision: word(),
            app: word(),
            version: word(),
            principal: word(),
            cluster: word(),
        }
    }
}

/// The service that a request was meant for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceLabels {
    /// Fully qualified host, `destination_service`.
    pub host: String,
    /// Name, `destination_service_name`.
    pub name: String,
    /// Namespace, `destination_service_namespace`.
    pub namespace: String,
}

impl ServiceLabels {
    /// A service with its fully qualified host.
    #[must_use]
    pub fn new(host: &str, name: &ObjectName) -> Self {
        Self {
            host: known(host),
            name: known(&name.name),
            namespace: known(&name.namespace),
        }
    }

    /// A service that is known by name only; the host is built with the usual cluster domain.
    #[must_use]
    pub fn of_member(name: &ObjectName) -> Self {
        Self::new(
            &format!("{}.{}.svc.cluster.local", name.name, name.namespace),
            name,
        )
    }

    /// A destination outside the mesh.
    #[must_use]
    pub fn passthrough() -> Self {
        Self {
            host: PASSTHROUGH.to_owned(),
            name: PASSTHROUGH.to_owned(),
            namespace: UNKNOWN.to_owned(),
        }
    }

    /// No service.
    #[must_use]
    pub fn unknown() -> Self {
        Self::all(UNKNOWN)
    }

    fn all(word: &str) -> Self {
        Self {
            host: word.to_owned(),
            name: word.to_owned(),
            namespace: word.to_owned(),
        }
    }
}

fn known(text: &str) -> String {
    known_or(text, UNKNOWN)
}

fn known_or(text: &str, other: &str) -> String {
    if text.is_empty() { other } else { text }.to_owned()
}

/// `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `http`
    Http,
    /// `grpc`
    Grpc,
    /// `tcp`
    Tcp,
    /// The series that takes what is over the limit.
    #[doc(hidden)]
    Overflow,
}

impl Protocol {
    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
            Self::Overflow => OVERFLOW,
        }
    }
}

/// `connection_security_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// `none`: plain.
    None,
    /// `mutual_tls`
    MutualTls,
    /// `unknown`
    Unknown,
    /// The series that takes what is over the limit.
    #[doc(hidden)]
    Overflow,
}

impl Security {
    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MutualTls => "mutual_tls",
            Self::Unknown => UNKNOWN,
            Self::Overflow => OVERFLOW,
        }
    }
}

/// Whose point of view a record stands for. One pass through one proxy is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reporters {
    /// The client's node.
    Source,
    /// The server's node.
    Destination,
    /// Both in one proxy.
    Both,
}

impl Reporters {
    /// Whether the client's side is reported.
    pub(crate) fn source(self) -> bool {
        matches!(self, Self::Source | Self::Both)
    }

    /// Whether the server's side is reported.
    pub(crate) fn destination(self) -> bool {
        matches!(self, Self::Destination | Self::Both)
    }
}

/// What is found once and then counted many times: who calls whom, for which service, how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    /// Client.
    pub source: Arc<Peer>,
    /// Server; unknown where a request reached none.
    pub destination: Arc<Peer>,
    /// Service that was meant.
    pub service: Arc<ServiceLabels>,
    /// Protocol.
    pub protocol: Protocol,
    /// How the peers are connected.
    pub security: Security,
    /// Which `reporter` series the records belong to.
    pub reporters: Reporters,
}

impl EdgeKey {
    /// The part that makes series equal: two records that differ in reporters alone share their `source` series.
    pub(crate) fn shown(&self) -> Shown {
        Shown {
            source: Arc::clone(&self.source),
            destination: Arc::clone(&self.destination),
            service: Arc::clone(&self.service),
            protocol: self.protocol,
            security: self.security,
        }
    }
}

/// The labels of an edge as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shown {
    pub(crate) source: Arc<Peer>,
    pub(crate) destination: Arc<Peer>,
    pub(crate) service: Arc<ServiceLabels>,
    pub(crate) protocol: Protocol,
    pub(crate) security: Security,
}

impl Shown {
    /// The labels of the series that takes what is over the limit.
    pub(crate) fn overflow() -> Self {
        let peer = Arc::new(Peer::all(OVERFLOW));
        Self {
            source: Arc::clone(&peer),
            destination: peer,
            service: Arc::new(ServiceLabels::all(OVERFLOW)),
            protocol: Protocol::Overflow,
            security: Security::Overflow,
        }
    }
}

/// What a label's value is taken from.
pub(crate) struct Facts<'f> {
    pub(crate) reporter: &'static str,
    pub(crate) edge: &'f Shown,
    pub(crate) flags: &'static str,
}

/// One label of all request and connection series.
pub struct Label {
    /// Name.
    pub name: &'static str,
    /// Meaning, for the reference.
    pub help: &'static str,
    pub(crate) value: for<'f> fn(&'f Facts<'_>) -> &'f str,
}

const fn label(
    name: &'static str,
    help: &'static str,
    value: for<'f> fn(&'f Facts<'_>) -> &'f str,
) -> Label {
    Label { name, help, value }
}

/// All labels that HTTP and TCP series share (ecosystem contract: 23), in the order of the text.
#[rustfmt::skip]
pub const LABELS: [Label; 23] = [
    label("reporter", "whose point of view: `source` or `destination`", |f| f.reporter),
    label("source_workload", "client's owner", |f| &f.edge.source.workload),
    label("source_workload_namespace", "client's namespace", |f| &f.edge.source.namespace),
    label("source_canonical_service", "client's canonical service", |f| &f.edge.source.canonical_service),
    label("source_canonical_revision", "client's canonical revision", |f| &f.edge.source.canonical_revision),
    label("source_app", "client's app", |f| &f.edge.source.app),
    label("source_version", "client's version", |f| &f.edge.source.version),
    label("source_principal", "client's proven identity", |f| &f.edge.source.principal),
    label("source_cluster", "client's cluster", |f| &f.edge.source.cluster),
    label("destination_workload", "server's owner", |f| &f.edge.destination.workload),
    label("destination_workload_namespace", "server's namespace", |f| &f.edge.destination.namespace),
    label("destination_service", "host of the service that was meant", |f| &f.edge.service.host),
    label("destination_service_name", "its name", |f| &f.edge.service.name),
    label("destination_service_namespace", "its namespace", |f| &f.edge.service.namespace),
    label("destination_canonical_service", "server's canonical service", |f| &f.edge.destination.canonical_service),
    label("destination_canonical_revision", "server's canonical revision", |f| &f.edge.destination.canonical_revision),
    label("destination_app", "server's app", |f| &f.edge.destination.app),
    label("destination_version", "server's version", |f| &f.edge.destination.version),
    label("destination_principal", "server's proven identity", |f| &f.edge.destination.principal),
    label("destination_cluster", "server's cluster", |f| &f.edge.destination.cluster),
    label("request_protocol", "`http`, `grpc` or `tcp`", |f| f.edge.protocol.label()),
    label("response_flags", "Envoy's flag for what the proxy decided itself, else `-`", |f| f.flags),
    label("connection_security_policy", "`mutual_tls`, `none` or `unknown`", |f| f.edge.security.label()),
];

/// The labels that HTTP series have besides.
pub(crate) const HTTP_LABELS: [(&str, &str); 2] = [
    (
        "response_code",
        "HTTP status that the client got; `0` = no response",
    ),
    (
        "grpc_response_status",
        "gRPC status number, `unknown` for what is not gRPC",
    ),
];
