//! Why a pod is not captured although it should be: a short word for the metric, a sentence for people.

use std::fmt;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What kind.
    pub(crate) kind: Kind,
    /// What happened, in words.
    pub(crate) text: String,
}

/// The kinds, which are the values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// No namespace owns the pod's address.
    NoNamespace,
    /// No proxy is connected, or none has answered yet.
    NoProxy,
    /// The proxy says it cannot serve the pod.
    ProxyRefused,
    /// The application listens on a port of the mesh.
    PortTaken,
    /// The packet rules could not be made.
    Rules,
    /// Anything else that the kernel or the disk refused.
    System,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::NoNamespace,
        Self::NoProxy,
        Self::ProxyRefused,
        Self::PortTaken,
        Self::Rules,
        Self::System,
    ];

    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoNamespace => "no_namespace",
            Self::NoProxy => "no_proxy",
            Self::ProxyRefused => "proxy_refused",
            Self::PortTaken => "port_taken",
            Self::Rules => "rules",
            Self::System => "system",
        }
    }
}

impl Trouble {
    /// A reason.
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
