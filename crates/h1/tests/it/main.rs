//! The codec as its callers see it: tables of what it takes and refuses, laws, and a second opinion.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod basics;
mod bodies;
mod encode;
mod garden;
mod headers;
mod limits;
mod probes;
mod requests;
mod responses;
mod stream;
