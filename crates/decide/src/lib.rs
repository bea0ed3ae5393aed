//! Request-time decisions: pure functions over one immutable table.
//!
//! [`Prepared`] turns the node's tables into matchers and endpoint lists off the hot path; all that decides on a request
//! afterwards reads it by reference and allocates nothing. No clock, no random source: `now` and dice are arguments, so
//! that each decision can be repeated and explained.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod address;
pub mod cors;
pub mod filter;
pub mod lb;
pub mod matcher;
pub mod membership;
pub mod mirror;
pub mod policy;
pub mod prepared;
mod regexp;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod service;
pub mod sniff;
pub mod split;
pub mod timeout;

pub use filter::PreparedHeaderOps;
pub use lb::{LocalState, pick};
pub use matcher::PreparedMatch;
pub use membership::membership;
pub use policy::{PreparedAction, PreparedBackend, PreparedClient, PreparedRule, Problem};
pub use prepared::{Destination, Prepared};
pub use rewrite::{redirect, rewrite};
pub use route::{Choice, Client, RequestView, route};
pub use service::{
    EndpointList, EndpointState, InFlight, PreparedEndpoint, PreparedPort, PreparedService,
};
pub use sniff::{Sniff, sniff};
pub use split::pick_backend;

#[cfg(test)]
mod fixture;
