//! The operator: manifests come in, every node gets the tables that its pods need.
//!
//! One way through: a [`source`] gives snapshots, the [`pipeline`] (single writer) compiles and publishes them by
//! generation, [`push`] brings each connected node from what it holds to what it should hold. Nothing is published
//! before the source has been read once, and nothing is ever stored: what was before a restart is known to the nodes.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod app;
pub mod cluster;
pub mod config;
pub mod metrics;
pub mod pipeline;
pub mod published;
pub mod push;
pub mod source;
pub mod status;
pub mod uncaptured;
