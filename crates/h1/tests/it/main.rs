//! The codec as its callers see it: tables of what it takes and refuses, laws, and a second opinion.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: unwrapping is failing"
)]

mod basics;
mod bodies;
mod differential;
mod encode;
mod garden;
mod generate;
mod headers;
mod limits;
mod probes;
mod properties;
mod reference;
mod replay;
mod requests;
mod responses;
mod stream;
