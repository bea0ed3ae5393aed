//! The lab itself, on real namespaces and the real bridge plugin, without Weft. Needs root, and fails without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests: unwrapping is failing, and what they print is read when they fail"
)]

mod pods;
mod residue;
mod room;
