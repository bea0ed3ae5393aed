//! Wiring: builds the parts, gives each what it needs, waits for the end. No decision is made here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use weft_decide::Prepared;
use weft_observe::Metrics;
use weft_service::http::{self, Answer, Router};
use weft_service::metrics::Exposition;
use weft_service::ready::Readiness;
use weft_tables::{ClientConfig, Handle, State};
use weft_wire::membership;

use crate::admin;
use crate::config::{Config, DRAIN_DEADLINE};
use crate::control::{self, Control, Inbox};
use crate::counters::Counters;
use crate::pods::source::{self, FromAgent, Link};
use crate::record::{AccessLogs, NodeScrape};
use crate::tables::Current;
use crate::worker::{Command, Shared, Worker};

/// Runs the proxy until it is told to leave and has nothing left to carry.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("control runtime")?;
    runtime.block_on(control(config))
}

async fn control(config: Config) -> anyhow::Result<()> {
    let shutdown = weft_service::signal::shutdown_on_signals().context("signals")?;
    let stop_tables = CancellationToken::new();
    let registry = weft_service::metrics::registry("proxy", env!("CARGO_PKG_VERSION"))?;
    let counters = Counters::new(&registry)?;
    let handle = weft_tables::start(client_config(&config), stop_tables.clone())?;
    let first = handle.current();
    let tables = Current::new(Prepared::build(None, &first.tables, first.generation));
    counters
        .generation
        .set(i64::try_from(first.generation).unwrap_or(i64::MAX));
    let metrics = Arc::new(Metrics::new());
    let workers = worker_count(config.workers);
    let (commands, inboxes): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
    let (idle, idle_inbox) = mpsc::unbounded_channel();
    let access_logs = AccessLogs::start(&config, counters.log_dropped.clone())?;
    let shared = Arc::new(Shared {
        tables,
        subscriptions: handle.clone(),
        pods: crate::pods::directory::Directory::default(),
        draining: AtomicBool::new(false),
        load: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        workers: commands,
        idle,
        counters,
        access_logs,
    });
    start_workers(&shared, &metrics, inboxes)?;

    let readiness = Readiness::default();
    let router = router(&registry, &metrics, &readiness);
    serve_http(&config, router, &handle, &stop_tables).await?;
    let tables_ready = CancellationToken::new();
    tokio::spawn(publish(
        Arc::clone(&shared),
        handle,
        tables_ready.clone(),
        readiness.part("tables"),
    ));

    let (events, agent) = mpsc::unbounded_channel::<FromAgent>();
    let (link, drain) = (Link::default(), CancellationToken::new());
    source::start(config.run_dir.join("agent.sock"), link.clone(), events)
        .context("agent thread")?;
    let inbox = Inbox {
        agent,
        idle: idle_inbox,
        tables: tables_ready,
    };
    tokio::spawn(Control::new(Arc::clone(&shared), link, drain.clone()).run(inbox));

    let grace = tokio::select! {
        () = shutdown.cancelled() => Duration::from_secs(config.termination_grace),
        () = drain.cancelled() => DRAIN_DEADLINE,
    };
    leave(
        &shared,
        &shutdown,
        grace,
        Duration::from_secs(config.termination_grace),
    )
    .await;
    if config.stay_when_drained {
        shutdown.cancelled().await;
    }
    stop_tables.cancel();
    // A name that leads nowhere would stay until another proxy starts.
    let _ = std::fs::remove_file(admin::path(&config.run_dir));
    Ok(())
}

/// Stops accepting and waits until nothing is carried any more, at most `grace`; a signal shortens that.
async fn leave(
    shared: &Shared,
    shutdown: &CancellationToken,
    grace: Duration,
    after_signal: Duration,
) {
    let empty = async {
        control::drain(shared).await;
        while control::open_connections(shared) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let signalled = async {
        shutdown.cancelled().await;
        tokio::time::sleep(after_signal).await;
    };
    tokio::select! {
        () = empty => tracing::info!("drained: nothing was cut"),
        () = tokio::time::sleep(grace) => {}
        () = signalled => {}
    }
    let cut = control::open_connections(shared);
    if cut > 0 {
        tracing::warn!(connections = cut, "leaving with open connections");
    }
}

fn client_config(config: &Config) -> ClientConfig {
    ClientConfig {
        token_file: config.token_file.clone(),
        operator: config.operator.clone(),
        node: config.node_name.clone(),
        kind: weft_tables::NodeKind::Proxy,
        state_dir: config.state_dir.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn worker_count(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        wanted => wanted,
    }
}

fn start_workers(
    shared: &Arc<Shared>,
    metrics: &Metrics,
    inboxes: Vec<mpsc::UnboundedReceiver<Command>>,
) -> anyhow::Result<()> {
    for (id, inbox) in inboxes.into_iter().enumerate() {
        let (shared, shard) = (Arc::clone(shared), metrics.shard());
        let seed = crate::record::seed(id);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("worker runtime")?;
        std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || {
                let worker = Worker::new(id, seed, shared, shard);
                LocalSet::new().block_on(&runtime, worker.run(inbox));
            })
            .context("worker thread")?;
    }
    Ok(())
}

fn router(
    registry: &prometheus::Registry,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
) -> Router {
    let scrape = Arc::new(NodeScrape::new(Arc::clone(metrics)));
    let exposition = Exposition::new(registry.clone(), vec![scrape]);
    Router::new()
        .metrics(exposition)
        .readiness(readiness.clone())
}

/// On the admin socket, which is root's, the plugin also learns who is in the mesh.
async fn serve_http(
    config: &Config,
    router: Router,
    tables: &Handle,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let tables = tables.clone();
    let private = router.clone().get(membership::PAGE, move |namespace| {
        let State { tables, .. } = &*tables.current();
        let only = Some(namespace).filter(|namespace| !namespace.is_empty());
        Answer::text(membership::list(&tables.namespaces, &tables.pods, only))
    });
    let router = Arc::new(router);
    for address in [config.metrics_listen, config.ready_listen] {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        tokio::spawn(http::serve(listener, Arc::clone(&router), stop.clone()));
    }
    let admin = admin::bind(&config.run_dir)?;
    tokio::spawn(http::serve_unix(admin, Arc::new(private), stop.clone()));
    Ok(())
}

/// Turns every new state into prepared tables, swaps them in and tells the operator.
async fn publish(
    shared: Arc<Shared>,
    handle: Handle,
    ready: CancellationToken,
    part: weft_service::ready::Part,
) {
    let mut changes = handle.changed();
    let mut up = None;
    loop {
        let state = Arc::clone(&changes.borrow_and_update());
        if state.generation >= 1 {
            let previous = shared.tables.load();
            if previous.generation() != state.generation {
                let prepared = Prepared::build(Some(&previous), &state.tables, state.generation);
                for problem in prepared.problems() {
                    tracing::warn!(service = %problem.service, field = %problem.field, "{}", problem.message);
                }
                shared.tables.publish(prepared);
            }
            shared
                .counters
                .generation
                .set(i64::try_from(state.generation).unwrap_or(i64::MAX));
            handle.set_applied(state.generation);
            ready.cancel();
            up.get_or_insert_with(|| part.up());
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
