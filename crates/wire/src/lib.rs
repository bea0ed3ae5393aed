//! Messages between the parts: the table stream (operator ⇄ node), the pod socket (agent ⇄ proxy), the plugin's call.
//!
//! Nothing here opens a socket. The gRPC half sits behind the feature `grpc`, so that the CNI plugin stays tiny.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod cni;
pub mod membership;
pub mod pod;
#[cfg(feature = "grpc")]
pub mod table;
