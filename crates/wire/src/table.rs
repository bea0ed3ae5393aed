//! The table stream as plain values: what a node says, what the operator answers, and the two rules both ends must
//! share, namely how a delta is cut into messages ([`parts`]) and what proves that both hold the same tables
//! ([`digest`]). The generated protobuf types stay inside [`rpc`].

pub mod digest;
pub mod parts;
pub mod rpc;

mod convert;

use bytes::Bytes;
use weft_model::table::Interest;

pub use digest::Digest;

/// Version of the JSON of tables and deltas. Raise it whenever a serialised type of `weft_model` changes in any way (the
/// golden test of the digest says so): a node with another one is never resumed and its digest is not compared.
pub const SCHEMA: u32 = 3;

/// Largest message in either direction, bytes (hardening V107).
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// Largest number of services, and of workloads, that one node may be interested in; the whole list fits in one Hello.
pub const MAX_INTEREST: usize = 100_000;

/// Highest generation that a node may claim. Numbers rise by one per change, so a higher one is a lie or damage, and an
/// operator that believed it could soon count no further.
pub const MAX_GENERATION: u64 = 1 << 53;

/// Longest node name, version or reason that is kept, bytes (a Kubernetes name has at most 253).
pub const MAX_TEXT: usize = 1024;

/// Pods of one node that may be reported as not captured; a node runs a tenth of it.
pub const MAX_TROUBLES: usize = 2_000;

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeMessage {
    /// First message, once.
    Hello(Hello),
    /// Adds to what the node is interested in.
    Subscribe(Interest),
    /// The tables of this generation are in use.
    Ack {
        /// The generation.
        generation: u64,
    },
    /// The tables of this generation are refused; the node keeps those it had.
    Nack {
        /// The generation.
        generation: u64,
        /// In words, for status.
        reason: String,
    },
    /// Pods that the agent cannot capture; takes the place of the list before.
    Troubles(Vec<PodTrouble>),
}

/// A pod that should be captured and is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodTrouble {
    /// The pod's uid.
    pub uid: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// Who connects and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Kubernetes name of the node.
    pub node: String,
    /// Which program.
    pub kind: NodeKind,
    /// Its version, for people.
    pub version: String,
    /// Its [`SCHEMA`].
    pub schema: u32,
    /// What it holds, if anything.
    pub resume: Option<Resume>,
    /// Everything it is interested in.
    pub interest: Interest,
    /// Highest generation that it has been sent, used or not: the next one must be above it.
    pub seen: u64,
}

/// Which program of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// `weft-agent`.
    Agent,
    /// `weft-proxy`.
    Proxy,
}

impl NodeKind {
    /// As shown to people and used as a directory's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Proxy => "proxy",
        }
    }
}

/// The tables that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Their generation.
    pub generation: u64,
    /// Their digest; `None` when the node cannot vouch for them (another schema, or it found that it had drifted):
    /// the operator then sends a reset above this generation.
    pub digest: Option<Digest>,
}

/// What the operator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorMessage {
    /// A delta, or a part of one.
    Delta(DeltaPart),
}

/// One message's worth of a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaPart {
    /// The same in all parts.
    pub header: DeltaHeader,
    /// Number of this part, from 0.
    pub part: u32,
    /// This part of the JSON.
    pub payload: Bytes,
}

/// What all parts of a delta agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaHeader {
    /// Generation of the tables after the delta; never given twice to a node.
    pub generation: u64,
    /// Generation that the delta starts from; `None`: from empty tables.
    pub base: Option<u64>,
    /// Digest of the tables after the delta; `None`: do not verify.
    pub digest: Option<Digest>,
    /// How many parts there are, at least 1.
    pub parts: u32,
}

#[cfg(test)]
mod tests;
