//! Facts about requests and connections, turned into Prometheus series, access log lines and request ids.
//!
//! Nothing here reads a clock, a file or a socket: time is an argument, output goes into a buffer. The hot half
//! ([`Shard`], [`Edge`]) costs a few plain stores per request; all that is expensive happens when somebody scrapes.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod access_log;
pub mod catalogue;
mod cells;
mod edge;
mod histogram;
mod labels;
mod registry;
mod render;
mod request_id;

pub use access_log::AccessRecord;
pub use edge::{Edge, Shard};
pub use labels::{
    EdgeKey, LABELS, Label, Peer, Protocol, Reporters, Security, ServiceLabels, UNKNOWN,
};
pub use registry::{IDLE_MILLIS, MAX_SERIES, Metrics, Settings};
pub use render::Scrape;
pub use request_id::{RequestId, RequestIds};

pub use cells::Outcome;

#[cfg(test)]
mod exposition;
#[cfg(test)]
mod tests;
