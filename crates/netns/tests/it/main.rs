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

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::Command;

use weft_netns::Netns;

/// A namespace whose loopback is up.
pub(crate) fn scratch() -> Netns {
    let ns =
        Netns::scratch().expect("these tests need root: a network namespace could not be made");
    ip(&ns, &["link", "set", "lo", "up"]);
    ns
}

/// Gives a socket's namespace as a new file descriptor (linux/sockios.h, which libc does not carry for gnu).
const SIOCGSKNS: libc::c_ulong = 0x894C;

/// The namespace that a socket belongs to, whoever made it.
#[allow(unsafe_code, reason = "what is asked has no safe wrapper")]
pub(crate) fn of_socket(socket: BorrowedFd<'_>) -> Netns {
    // SAFETY: SIOCGSKNS takes no argument and returns a new descriptor or -1.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Netns::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }).unwrap()
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
