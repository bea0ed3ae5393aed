//! Wiring: builds the parts, gives each what it needs, waits for the signal.

use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weft_service::http::{Answer, Router, serve};
use weft_service::metrics::{Exposition, registry};
use weft_service::ready::Readiness;
use weft_service::signal::shutdown_on_signals;

use crate::cluster::events::Events;
use crate::cluster::lease::{self, Election, Seat, Seats};
use crate::cluster::rbac::LEASE;
use crate::cluster::tokens::Tokens;
use crate::cluster::writer::{Carried, Writer};
use crate::config::{Config, From};
use crate::metrics::Metrics;
use crate::push::server::{Door, Mesh};
use crate::source::dir::Directories;
use crate::source::kubernetes::{Cluster, READ_TIMEOUT};
use crate::status::Nodes;
use crate::{pipeline, push, source, uncaptured};

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What to do where no API server is known.
const NO_ACCESS: &str =
    "no access to Kubernetes: run in a pod with a service account, or give --kubeconfig";

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: an address that is taken, a directory that cannot be read, no way to the API server.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signals().context("cannot handle signals")?;
    run_until(config, shutdown).await
}

/// Runs until `shutdown`.
///
/// # Errors
/// See [`run`].
pub async fn run_until(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let registry = registry("weft-operator", VERSION)?;
    let metrics = Metrics::new(&registry)?;
    let readiness = Readiness::default();
    let nodes = Nodes::default();
    let tasks = Tasks {
        tracker: TaskTracker::new(),
        shutdown: shutdown.clone(),
    };

    let origin = config.from()?;
    let (manifests, changes) = source::channel();
    let (pipeline, handle) = pipeline::Pipeline::new(
        config.settings(),
        metrics.clone(),
        readiness.part("manifests"),
    );
    let grpc = listen("--listen", config.listen).await?;
    let http = listen("--metrics-listen", config.metrics_listen).await?;
    let (told, list) = watch::channel(Vec::new());
    tasks.spawn_endless(uncaptured::run(handle.clone(), nodes.clone(), told));
    let (door, seats) = match origin {
        From::Directories(directories) => {
            let directories = Directories::open(&directories)?;
            tasks
                .tracker
                .spawn(source::run(directories, manifests, shutdown.clone()));
            (Door::Open, lease::alone())
        }
        From::Cluster(access) => {
            let client = access.client(READ_TIMEOUT, NO_ACCESS).await?;
            let carried = Carried::default();
            let cluster = Cluster::new(client.clone(), carried.clone());
            tasks
                .tracker
                .spawn(source::run(cluster, manifests, shutdown.clone()));
            let seats = elect(&config, client.clone(), &handle, &tasks);
            let writer = Writer {
                client: client.clone(),
                pipeline: handle.clone(),
                nodes: nodes.clone(),
                carried,
                seats: seats.clone(),
                namespace: config.namespace.clone(),
            };
            report(&config, writer, list.clone(), &tasks);
            let tokens = Tokens::new(client, &config.namespace, &config.node_accounts);
            (Door::Tokens(Box::new(tokens)), seats)
        }
    };
    tasks.spawn_endless(pipeline.run(changes));
    let router = pages(
        &handle,
        &nodes,
        list,
        Exposition::new(registry, Vec::new()),
        readiness,
    );
    tasks
        .tracker
        .spawn(serve(http, Arc::new(router), shutdown.clone()));

    let mesh = Mesh {
        pipeline: handle,
        nodes,
        metrics,
        seats,
    };
    tracing::info!(grpc = %config.listen, metrics = %config.metrics_listen, "listening");
    let served = push::server::serve(grpc, mesh, door, shutdown).await;
    tasks.tracker.close();
    tasks.tracker.wait().await;
    served.context("the gRPC server has ended")
}

/// What runs beside the gRPC server and is waited for at the end.
struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Tasks {
    /// Runs what has no end of its own until the shutdown.
    fn spawn_endless(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.shutdown.clone().run_until_cancelled_owned(task);
        self.tracker.spawn(ended);
    }
}

/// Takes part in the election; what this replica is.
fn elect(config: &Config, client: Client, pipeline: &pipeline::Handle, tasks: &Tasks) -> Seats {
    let (seat, seats) = watch::channel(Seat::Follows { leader: None });
    let election = Election::new(
        client,
        (&config.namespace, LEASE),
        config.identity(),
        config.address(),
        pipeline.clone(),
    );
    tasks
        .tracker
        .spawn(election.run(seat, tasks.shutdown.clone()));
    seats
}

/// Tells the cluster what became of its objects: their status, and events about pods that are not captured.
fn report(config: &Config, writer: Writer, uncaptured: uncaptured::List, tasks: &Tasks) {
    let events = Events {
        client: writer.client.clone(),
        list: uncaptured,
        seats: writer.seats.clone(),
        identity: config.identity(),
    };
    tasks.spawn_endless(events.run());
    tasks.spawn_endless(writer.run());
}

/// What people and `weft` can ask.
fn pages(
    handle: &pipeline::Handle,
    nodes: &Nodes,
    uncaptured: uncaptured::List,
    exposition: Exposition,
    readiness: Readiness,
) -> Router {
    let [diagnostics, files, newest] = [handle.clone(), handle.clone(), handle.clone()];
    let shown = nodes.clone();
    Router::new()
        .metrics(exposition)
        .readiness(readiness)
        .get("/debug/diagnostics", move |_| {
            Answer::json(diagnostics.current().diagnostics_json())
        })
        .get("/debug/manifests", move |_| {
            Answer::json(files.current().manifests_json())
        })
        .get("/debug/nodes", move |_| {
            Answer::json(shown.to_json(newest.current().generation))
        })
        .get("/debug/uncaptured", move |_| {
            Answer::json(uncaptured::to_json(&uncaptured))
        })
}

async fn listen(flag: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag} {address}: cannot listen there"))
}
