//! Typed manifests: YAML or JSON in, objects with their positions out.
//!
//! Pure: text comes as an argument and nothing is fetched. Only the fields that Weft needs are typed. What a policy
//! object says beyond them is kept by name (`Located::unread`), so that nobody's field is dropped in silence.
//! Invariant: one broken document never hides another, and no input panics.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod core;
pub mod duration;
pub mod gateway;
pub mod istio;
pub mod kinds;
pub mod located;
pub mod meta;
pub mod percent;
pub mod scalar;
pub mod schema;

mod decode;
mod document;
mod json;
mod node;
mod parse;
#[cfg(test)]
mod tests;

pub use duration::Duration;
pub use json::parse_object;
pub use kinds::{Kind, Object, Snapshot};
pub use located::{Duplicate, Located, Place, Unread};
pub use meta::{Metadata, Name, Other};
pub use parse::{MAX_FILE_BYTES, ParseError, parse_file};
pub use percent::Percent;
pub use scalar::IntOrString;
