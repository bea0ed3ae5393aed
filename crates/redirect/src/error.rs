//! What can go wrong: a wish that cannot be met, a pod that cannot be changed, rules that are not as they should be.

use std::io;

use crate::backend::Flavour;

/// A `CaptureSpec` that asks for the impossible; the agent reports it with the pod's annotation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A list is too long.
    #[error(
        "{list} has {count} entries, more than the {max} allowed: use ranges or wider networks"
    )]
    TooMany {
        /// Field of the `CaptureSpec`.
        list: &'static str,
        /// Entries found.
        count: usize,
        /// Entries allowed.
        max: usize,
    },
    /// A range that contains no port, or port 0.
    #[error("{list} has the range {first}-{last}: ports go from 1 to 65535, the smaller one first")]
    Range {
        /// Field of the `CaptureSpec`.
        list: &'static str,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

/// Why a pod could not be captured or released.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification is invalid; nothing was touched.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The pod's namespace could not be entered or asked.
    #[error("the pod's network namespace cannot be used: {0}")]
    Namespace(#[source] io::Error),
    /// A program of iptables is not installed, or cannot be started.
    #[error(
        "{program} cannot be started ({source}): install iptables on the node or in the agent's image"
    )]
    Run {
        /// The program.
        program: String,
        /// The reason.
        source: io::Error,
    },
    /// A program of iptables refused.
    #[error("{program} failed ({status}): {stderr}")]
    Refused {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// What it said, shortened.
        stderr: String,
    },
    /// The kernel refused a routing rule or a route.
    #[error("{what} cannot be changed in the pod: {source}")]
    Route {
        /// The object.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A sysctl could not be set.
    #[error("{source}: the agent needs /proc with the settings of network namespaces")]
    Sysctl {
        /// The reason, with the key.
        source: io::Error,
    },
    /// The pod already has rules of a flavour for which this node has no program that works.
    #[error("the pod has {0} rules, but {0} does not work on this node; the two must not be mixed")]
    Unusable(Flavour),
    /// No flavour works on this node.
    #[error("neither flavour of iptables works on this node. nft: {nft}. legacy: {legacy}")]
    NoFlavour {
        /// What nft said.
        nft: String,
        /// What legacy said.
        legacy: String,
    },
}

/// How a captured pod differs from what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Drift {
    /// Something is missing, changed or in the way; each entry names one object.
    #[error("the pod's capture was changed by someone else: {}", .0.join("; "))]
    Changed(Vec<String>),
    /// It could not be found out.
    #[error("the pod's capture cannot be checked: {0}")]
    Unknown(#[from] Error),
}
