//! Compile as its users see it: golden cases and laws.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: unwrapping is failing"
)]

mod codes;
mod golden;
mod laws;
