//! Nodes and pods as network namespaces on one machine: a small kubelet, a small set of controllers, the container
//! runtime's half of CNI, a supervisor of Weft's daemons, load and verbs. Demo, end-to-end tests and bench use this one
//! code path.
//!
//! Call [`isolate::enter`] first: everything here expects to run inside the room that it makes, and leaves nothing
//! behind because of it.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

pub mod cni;
mod config;
mod container;
mod control;
mod daemon;
mod event;
pub mod isolate;
mod kubelet;
mod lab;
mod launch;
mod listen;
pub mod load;
pub mod manifests;
pub mod object;
pub mod preflight;
mod supervise;
mod sync;
mod topology;
pub mod verb;
mod view;

pub use config::LabConfig;
pub use daemon::{Daemon, Part};
pub use event::{Event, Report, silent};
pub use lab::Lab;
pub use topology::{MAX_NODES, Node, NodePaths, ROOT_IP};
pub use view::{Pod, View};
