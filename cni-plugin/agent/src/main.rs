//! The node agent: installs the plugin, enters pods, owns every listening socket.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod app;
mod bound;
mod cni;
mod config;
mod debug;
mod handover;
mod install;
mod leave;
mod list;
mod metrics;
mod packets;
mod pods;
mod trouble;

use anyhow::Context;

/// Threads for work that blocks: entering namespaces, running iptables. More would only make pods wait for each other.
const BLOCKING_THREADS: usize = 16;

fn main() -> anyhow::Result<()> {
    let (config, startup) = weft_service::config::parse::<config::Config>();
    weft_service::log::init(&config.log)?;
    startup.report("weft-agent", env!("CARGO_PKG_VERSION"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, app::run(config));
    // A thread that is still inside a pod finishes its step; nothing waits for it longer than that.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
