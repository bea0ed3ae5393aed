//! The spec versions that we speak. What a version changes for us is a method here and nowhere else.

use serde::{Deserialize, Serialize};

/// A supported version of the CNI specification, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// 0.3.1: the first with chaining as it is today.
    V0_3_1,
    /// 0.4.0: brought CHECK.
    V0_4_0,
    /// 1.0.0: dropped `ips[].version` and single-plugin files.
    V1_0_0,
    /// 1.1.0: brought GC and STATUS.
    V1_1_0,
}

impl Version {
    /// All of them, oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The version of answers to calls that name none.
    pub(crate) const NEWEST: Self = Self::V1_1_0;

    /// As the specification spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version that `text` spells, if we speak it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == text)
    }

    /// Whether CHECK exists.
    pub(crate) fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether GC and STATUS exist.
    pub(crate) fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// Whether each address of a result carries its family in `version`.
    pub(crate) fn names_ip_family(self) -> bool {
        self < Self::V1_0_0
    }
}

/// The versions as a list for messages.
pub(crate) fn spoken() -> String {
    Version::ALL.map(Version::as_str).join(", ")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    cni_version: &'static str,
    supported_versions: [&'static str; 4],
}

/// The answer to VERSION. The runtime may send `{"cniVersion": …}`; whatever else stdin holds does not matter here.
pub(crate) fn answer(stdin: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        cni_version: String,
    }
    let asked = serde_json::from_slice::<Asked>(stdin)
        .ok()
        .and_then(|a| Version::parse(&a.cni_version));
    let versions = Versions {
        cni_version: asked.unwrap_or(Version::NEWEST).as_str(),
        supported_versions: Version::ALL.map(Version::as_str),
    };
    serde_json::to_vec(&versions).unwrap_or_default()
}
