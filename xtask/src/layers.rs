//! Who may import whom, and the house rules that no compiler checks. The tables below are the architecture: a change
//! of direction is a change of this file, seen in review.

mod bans;
mod imports;
mod sources;

use std::fmt;

use anyhow::bail;

use crate::workspace::Workspace;

/// What each package may import of ours, in ordinary and build dependencies. Absent package = violation.
///
/// Level 0 is `model`; the pure crates stand on it; the process kit and the lab next; programs last. No program
/// imports another program.
pub(crate) const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Level 0 and 1: vocabulary, pure crates, kernel and wire edges.
    ("weft-model", &[]),
    ("weft-netns", &[]),
    ("weft-oci", &[]),
    ("weft-access", &[]),
    ("weft-k8s", &[]),
    ("weft-h1", &["weft-model"]),
    ("weft-decide", &["weft-model"]),
    ("weft-observe", &["weft-model"]),
    ("weft-wire", &["weft-model"]),
    ("weft-redirect", &["weft-model", "weft-netns"]),
    // Level 2: joins.
    ("weft-compile", &["weft-model", "weft-k8s"]),
    ("weft-tables", &["weft-model", "weft-wire"]),
    ("weft-service", &["weft-observe"]),
    (
        "weft-lab",
        &["weft-k8s", "weft-model", "weft-netns", "weft-wire"],
    ),
    // Level 3: programs.
    (
        "weft-proxy",
        &[
            "weft-decide",
            "weft-h1",
            "weft-model",
            "weft-netns",
            "weft-observe",
            "weft-service",
            "weft-tables",
            "weft-wire",
        ],
    ),
    ("weft-cni", &["weft-model", "weft-netns", "weft-wire"]),
    (
        "weft-agent",
        &[
            "weft-model",
            "weft-netns",
            "weft-observe",
            "weft-redirect",
            "weft-service",
            "weft-tables",
            "weft-wire",
        ],
    ),
    (
        "weft-operator",
        &[
            "weft-access",
            "weft-compile",
            "weft-k8s",
            "weft-model",
            "weft-observe",
            "weft-service",
            "weft-wire",
        ],
    ),
    (
        "weft-cli",
        &[
            "weft-access",
            "weft-compile",
            "weft-decide",
            "weft-k8s",
            "weft-lab",
            "weft-model",
            "weft-wire",
        ],
    ),
    // Level 4: what drives the programs from outside.
    ("weft-e2e", &["weft-lab", "weft-model", "weft-netns"]),
    ("weft-cluster", &["weft-netns", "weft-oci"]),
    ("weft-conformance", &["weft-cluster", "weft-oci"]),
    (
        "weft-bench",
        &["weft-cluster", "weft-lab", "weft-model", "weft-netns"],
    ),
    ("xtask", &["weft-oci"]),
];

/// Crates that hold the product's value as functions: no runtime, no clock, no random source, no file, no socket.
pub(crate) const PURE: &[&str] = &[
    "weft-model",
    "weft-decide",
    "weft-k8s",
    "weft-compile",
    "weft-h1",
    "weft-observe",
    "weft-oci",
];

/// What must not be in a pure crate's closure of dependencies.
pub(crate) const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "tonic",
    "kube",
    "mio",
    "nix",
    "socket2",
    "tracing-subscriber",
    "rand",
];

/// Libraries that link no asynchronous runtime either, because the CNI plugin links them.
pub(crate) const NO_RUNTIME: &[&str] = &["weft-netns", "weft-wire", "weft-redirect", "weft-cni"];

/// Inside the node proxy: a module may use those of its own and lower levels only, so that a later split is mechanical.
/// The data path is one level: a connection's front, its records and the pool of its upstreams know each other.
pub(crate) const PROXY_LEVELS: &[(&str, u8)] = &[
    // Settings, counters, sockets and buffers: know nothing of meshes.
    ("config", 0),
    ("counters", 0),
    ("net", 0),
    // Where decisions and keys come from.
    ("identity", 1),
    ("tables", 1),
    ("tunnel", 1),
    // The data path.
    ("worker", 2),
    ("pods", 2),
    ("l4", 2),
    ("l7", 2),
    ("record", 2),
    // What starts, stops and shows it.
    ("control", 3),
    ("admin", 3),
    ("app", 4),
];

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Package, or file and line.
    pub(crate) place: String,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)
    }
}

/// Checks everything.
///
/// # Errors
/// Any violation; all are printed.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let mut found = imports::check(&workspace.packages);
    found.extend(imports::check_closures(&workspace)?);
    found.extend(bans::check(&workspace.root)?);
    found.extend(sources::check(&workspace)?);
    for violation in &found {
        eprintln!("layers: {violation}");
    }
    match found.len() {
        0 => Ok(()),
        count => bail!("layers: {count} violations; the tables are in xtask/src/layers.rs"),
    }
}
