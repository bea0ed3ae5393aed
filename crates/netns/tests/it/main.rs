//! weft-netns against the real kernel. These tests need root and fail without it; all namespaces they make are
//! nameless, so they end with the test process however it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: unwrapping is failing"
)]

mod inside;
mod namespace;
mod pass;
mod scan;
mod socket;

use std::process::Command;

use weft_netns::Netns;

/// A namespace whose loopback is up.
pub(crate) fn scratch() -> Netns {
    let ns =
        Netns::scratch().expect("these tests need root: a network namespace could not be made");
    ip(&ns, &["link", "set", "lo", "up"]);
    ns
}

/// Runs `ip` inside the namespace.
pub(crate) fn ip(ns: &Netns, args: &[&str]) {
    let out = ns
        .run(|| Command::new("ip").args(args).output())
        .unwrap()
        .unwrap();
    assert!(
        out.status.success(),
        "ip {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
