//! The real `weft-proxy` between real sockets: captured pods are network namespaces, the agent and the operator are
//! scripted, manifests are what a user would write. Every test has a world of its own and needs root; none skips.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: unwrapping is failing"
)]

mod agent;
mod backend;
mod client;
mod mesh;
mod proxy;
mod raw;
mod world;

mod broken;
mod cors;
mod hostile_body;
mod hostile_client;
mod hostile_server;
mod lifecycle;
mod limits;
mod mirror;
mod nodes;
mod plain;
mod pressure;
mod retry;
mod routing;
mod tcp;
mod telemetry;
