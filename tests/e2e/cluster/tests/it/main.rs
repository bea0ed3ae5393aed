//! The cluster itself: what a mesh will stand on works before any mesh is there, and nothing is left when it ends,
//! however it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

mod basics;
mod residue;
