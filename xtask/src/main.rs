//! The project's chores as plain Rust: what a newcomer, CI and a developer run is the same code.
//!
//! Each chore is a module with one entry function. They talk on stderr; a chore that fails returns an error that says
//! what to do next, and the process exits 1.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod bench;
mod binaries;
mod chart;
mod cluster;
mod conformance;
mod demo;
mod fuzz;
mod gate;
mod images;
mod layers;
mod limits;
mod programs;
mod reproduce;
mod setup;
mod sources;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Weft's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the Debian packages that demo, tests and bench use (needs root).
    Setup(setup::Options),
    /// Run the gate: format, layers, lints, all tests, release build, end-to-end tests.
    Test(gate::Options),
    /// Build the release binaries into target/weft.
    Build(binaries::Options),
    /// Build container images into target/weft/images, without a container engine.
    Images(images::Options),
    /// Build from two places and compare: the same commit gives the same programs.
    Reproduce(reproduce::Options),
    /// Render the chart's plain manifests and goldens (needs helm).
    Chart(chart::Options),
    /// Install what is missing, build, and run the demo mesh on this machine (needs root).
    Demo(demo::Options),
    /// A real two-node Kubernetes on this machine: up, down, status, kubectl, … (needs root and Go).
    Cluster(cluster::Options),
    /// The Gateway API's mesh conformance suite on such a cluster, with Weft or with no mesh.
    Conformance(conformance::Options),
    /// Check who imports whom and the rules that the compiler does not.
    Layers,
    /// Write the pages that are made from the code (docs/guide/limits.md).
    Docs,
    /// Compare Weft with its peers on this machine (needs root).
    Bench(bench::Options),
    /// Fuzz one target (needs cargo-fuzz and a nightly toolchain).
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Setup(options) => setup::run(&options),
        Chore::Test(options) => gate::run(&options),
        Chore::Build(options) => binaries::run(&options),
        Chore::Images(options) => images::run(&options),
        Chore::Reproduce(options) => reproduce::run(&options),
        Chore::Chart(options) => chart::run(&options),
        Chore::Demo(options) => demo::run(&options),
        Chore::Cluster(options) => cluster::run(&options),
        Chore::Conformance(options) => conformance::run(&options),
        Chore::Layers => layers::run(),
        Chore::Docs => limits::run(),
        Chore::Bench(options) => bench::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
