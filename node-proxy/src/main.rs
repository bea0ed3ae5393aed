//! The node proxy: carries every captured pod's traffic. Parses its settings and hands over to `app`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod admin;
mod app;
mod config;
mod control;
mod counters;
mod l4;
mod l7;
mod net;
mod pods;
mod record;
mod tables;
mod worker;

use std::process::ExitCode;

/// Gives memory back after bursts, where the system's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let (config, startup) = weft_service::config::parse::<config::Config>();
    let run = weft_service::log::init(&config.logging).and_then(|()| {
        startup.report("weft-proxy", env!("CARGO_PKG_VERSION"));
        app::run(config)
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "weft-proxy cannot go on");
            ExitCode::FAILURE
        }
    }
}
