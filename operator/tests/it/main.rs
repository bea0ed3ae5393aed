//! The real operator on loopback with the real clients of agent and proxy: what a user sees when files are saved, broken
//! and repaired, and when one side is away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

mod api_server;
mod kubernetes;
mod mesh;
mod strangers;
mod stream;
