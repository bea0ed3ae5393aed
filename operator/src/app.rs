//! Wiring: builds the parts, gives each what it needs, waits for the signal.

use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use weft_service::http::{Answer, Router, serve};
use weft_service::metrics::{Exposition, registry};
use weft_service::ready::Readiness;
use weft_service::signal::shutdown_on_signals;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::source::dir::Directories;
use crate::status::Nodes;
use crate::{pipeline, push, source};

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: an address that is taken, a directory that cannot be read.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signals().context("cannot handle signals")?;
    let registry = registry("weft-operator", VERSION)?;
    let metrics = Metrics::new(&registry)?;
    let readiness = Readiness::default();
    let nodes = Nodes::default();
    let tasks = TaskTracker::new();

    let directories = Directories::open(&config.manifests)?;
    let grpc = listen("--listen", config.listen).await?;
    let http = listen("--metrics-listen", config.metrics_listen).await?;

    let (manifests, changes) = source::channel();
    tasks.spawn(source::run(directories, manifests, shutdown.clone()));
    let (pipeline, handle) = pipeline::Pipeline::new(
        config.settings(),
        metrics.clone(),
        readiness.part("manifests"),
    );
    tasks.spawn(
        shutdown
            .clone()
            .run_until_cancelled_owned(pipeline.run(changes)),
    );

    let [diagnostics, files, newest] = [handle.clone(), handle.clone(), handle.clone()];
    let shown = nodes.clone();
    let router = Router::new()
        .metrics(Exposition::new(registry, Vec::new()))
        .readiness(readiness)
        .get("/debug/diagnostics", move |_| {
            Answer::json(diagnostics.current().diagnostics_json())
        })
        .get("/debug/manifests", move |_| {
            Answer::json(files.current().manifests_json())
        })
        .get("/debug/nodes", move |_| {
            Answer::json(shown.to_json(newest.current().generation))
        });
    tasks.spawn(serve(http, Arc::new(router), shutdown.clone()));

    let server = push::server::serve(grpc, handle, nodes, metrics, shutdown.clone());
    tracing::info!(grpc = %config.listen, metrics = %config.metrics_listen, "listening");
    server.await.context("the gRPC server has ended")?;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn listen(flag: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag} {address}: cannot listen there"))
}
