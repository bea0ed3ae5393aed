//! The process kit: flags and environment, logging, signals, readiness, metrics, and the read-only HTTP endpoints that
//! every daemon has. It knows nothing of the mesh; whatever it serves is given to it. Everything runs on a
//! current-thread runtime, and nothing here is a global but the logger, which the process installs once.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod config;
pub mod http;
pub mod log;
pub mod metrics;
pub mod ready;
pub mod signal;
