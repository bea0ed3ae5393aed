//! Capture against the real kernel: pods as nameless network namespaces, a relay in place of the proxy, both flavours of
//! iptables, both families. These tests need root and fail without it; nothing that they make outlives the process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: unwrapping is failing"
)]

mod app;
mod enrolment;
mod lifecycle;
mod matrix;
mod raw;
mod refused;
mod relay;
mod world;
