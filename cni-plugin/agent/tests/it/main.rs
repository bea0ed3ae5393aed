//! The real agent and the real plugin behind the real `bridge` and `host-local`, driven the way a container runtime
//! does, beside an operator and a proxy of the tests' own. Needs root: every test makes its own namespaces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

mod attach;
mod confined;
mod enrol;
mod install;
mod leave;
mod many;
mod operator;
mod proxy;
mod restart;
mod world;
