//! The packet rules a captured pod needs, as text, and their application inside the pod's namespace.
//!
//! What a pod needs is computed first, purely, from its `CaptureSpec` ([`desired`]); the difference to what is there is
//! rendered as one atomic `iptables-restore` transaction per family ([`iptables`]); only then is anything touched.
//! Rules live in the pod's namespace alone, apply to new connections alone, and are removed by our own chains, never
//! by table, for the application may have rules too. `docs/adr/0010-capture-rules.md` has the reasons.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod apply;
pub mod backend;
pub mod desired;
mod error;
mod in_use;
pub mod iptables;
mod netlink;
mod policy_route;
mod ports;
mod tool;

pub use apply::{capture, phase, release, releasing, verify};
pub use backend::{Applied, Flavour, Iptables, RuleBackend};
pub use desired::{Desired, Family, Phase, WayBack, desired};
pub use error::{Drift, Error, SpecError};
