//! The mesh's vocabulary and the node tables: what compiler, wire, deciding and proxy all speak.
//!
//! Nothing here knows Kubernetes, sockets or protobuf. Types are plain values with serde, because the same bytes
//! travel to the nodes, lie on their disks and are shown to people (ADR 0002).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod capture;
pub mod delta;
pub mod endpoint;
pub mod id;
pub mod matcher;
pub mod pod;
pub mod policy;
pub mod protocol;
pub mod reason;
pub mod retry;
pub mod route;
pub mod service;
pub mod table;
pub mod target;
pub mod workload;
