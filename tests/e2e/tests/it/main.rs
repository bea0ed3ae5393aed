//! The mesh as its users meet it: ordinary manifests in, behaviour and numbers out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: unwrapping is failing"
)]

mod decks;
mod demo;
mod faults;
mod gamma;
mod signals;
