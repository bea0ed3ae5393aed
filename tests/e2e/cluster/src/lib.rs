//! A real Kubernetes on one machine: API server, controllers and scheduler, and nodes with containerd, kubelet and
//! kube-proxy of their own. Nothing is played: what passes here passes on a cluster.
//!
//! Everything runs in a *room*, a process with its own pid, mount and network namespaces; each node is a smaller
//! container inside. Killing the room's first process ends every process, interface and mount of the cluster; a janitor
//! removes files and control groups. Two clusters never meet: addresses are the same in each, networks are not.
//!
//! With `KUBECONFIG` set, [`Cluster::up`] takes that cluster instead of making one.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod cgroup;
mod cluster;
mod config;
mod control;
mod daemon;
mod image;
mod kubectl;
mod mesh;
mod needs;
mod network;
mod node;
mod power;
mod process;
pub mod programs;
mod room;
mod settings;
mod sweep;

pub use cluster::Cluster;
pub use config::{Config, Progress};
pub use image::program_image;
pub use kubectl::Finished;
pub use mesh::{Mesh, NAMESPACE, Part};
pub use needs::{go, missing};
pub use network::CONTROL_PLANE_IP;
pub use node::Node;
