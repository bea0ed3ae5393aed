//! Wiring only: makes the parts, gives each what it needs, and waits for the end. A stop leaves everything in place:
//! rules, conflist and the proxies' copies of the sockets, so that pods work on and new ones wait for the next agent.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio_util::sync::CancellationToken;
use weft_netns::ScanRoots;
use weft_redirect::{Flavour, Iptables, RuleBackend};
use weft_service::http::{Answer, Router};
use weft_service::metrics::Exposition;
use weft_service::ready::{Part, Readiness};
use weft_tables::{ClientConfig, Handle, NodeKind};

use crate::bound::Bound;
use crate::config::{self, Config};
use crate::handover::{self, Handover};
use crate::install::watch::{self as installer, Places};
use crate::leave::Leave;
use crate::list::ListFile;
use crate::metrics::Metrics;
use crate::packets::Listener;
use crate::pods::kernel::{Kernel, blocking};
use crate::pods::record::Records;
use crate::pods::{Pods, patrol, reconcile};
use crate::{cni, debug};

/// A restarted agent waits so long for the proxies to bring its sockets back before it touches pods on its own.
const ADOPTION_GRACE: Duration = Duration::from_millis(500);
/// The last good tables are on disk within this time after a stop.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = weft_service::signal::shutdown_on_signals()?;
    raise_descriptor_limit();
    for dir in [&config.run_dir, &config.state_dir] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let rules = rules(config.iptables, &config.run_dir).await?;
    let registry = weft_service::metrics::registry("weft-agent", env!("CARGO_PKG_VERSION"))?;
    let metrics = Rc::new(Metrics::register(&registry)?);
    let readiness = Readiness::default();
    let (tables_ready, plugin_ready) = (readiness.part("tables"), readiness.part("plugin"));
    let leave = leave(&config, &readiness);

    let handle = weft_tables::start(client(&config), shutdown.clone())?;
    let (bound, tables) = watch::channel(Arc::new(Bound::default()));
    spawn_local(follow(
        handle.clone(),
        bound,
        ListFile::new(&config.state_dir),
        (tables_ready, config.leave),
    ));
    let pods = pods(&config, tables.clone(), rules).await?;
    answer_peers(&config.run_dir, &pods, &metrics, &shutdown)?;

    let page = Arc::new(Mutex::new(String::from("[]")));
    spawn_local(enrol(
        Rc::clone(&pods),
        Rc::clone(&metrics),
        (Arc::clone(&page), leave.clone(), handle.clone()),
        shutdown.clone(),
    ));
    spawn_local(patrol::run(pods, Rc::clone(&metrics), shutdown.clone()));
    let installation = Arc::new(Mutex::new(String::from("{}")));
    let listen = config.metrics_listen;
    spawn_local(installer::run(
        places(config),
        tables,
        plugin_ready,
        (metrics, Arc::clone(&installation)),
        shutdown.clone(),
    ));

    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--metrics-listen {listen}"))?;
    let router = Router::new()
        .metrics(Exposition::new(registry, Vec::new()))
        .readiness(readiness)
        .get("/debug/pods", text_of(page))
        .get("/debug/installation", text_of(installation));
    weft_service::http::serve(listener, Arc::new(router), shutdown).await;
    save(&handle).await;
    if let Some(leave) = leave {
        leave.finish();
    }
    Ok(())
}

/// What takes all pods out of the mesh, where that is what this agent was started for.
fn leave(config: &Config, readiness: &Readiness) -> Option<Rc<Leave>> {
    config.leave.then(|| {
        tracing::info!("leaving: all pods of this node go out of the mesh");
        Leave::new(
            readiness.part("released"),
            [&config.run_dir, &config.state_dir],
        )
    })
}

/// How this node's tables are asked for.
fn client(config: &Config) -> ClientConfig {
    ClientConfig {
        token_file: config.token_file.clone(),
        operator: config.operator.clone(),
        node: config.node_name.clone(),
        kind: NodeKind::Agent,
        state_dir: config.state_dir.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// All pods of the node, with what an agent before this one has left behind.
async fn pods(
    config: &Config,
    tables: watch::Receiver<Arc<Bound>>,
    rules: Arc<dyn RuleBackend>,
) -> anyhow::Result<Rc<Pods>> {
    let records = Records::open(&config.run_dir).context("cannot make the directory of records")?;
    let roots = ScanRoots {
        named: config.netns_dir.clone(),
        ..ScanRoots::default()
    };
    let kernel = Kernel::new(rules);
    let pods = Pods::new(tables, Rc::new(Handover::new()), kernel, records, roots);
    pods.recover()
        .await
        .map_err(|trouble| anyhow::anyhow!("{trouble}"))?;
    Ok(Rc::new(pods))
}

/// Answers proxies and plugin on their sockets.
fn answer_peers(
    run_dir: &Path,
    pods: &Rc<Pods>,
    metrics: &Rc<Metrics>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let proxies = Listener::bind(&run_dir.join("agent.sock"))?;
    let plugin = Listener::bind(&run_dir.join("cni.sock"))?;
    spawn_local(handover::serve::serve(
        proxies,
        Rc::clone(pods),
        shutdown.clone(),
    ));
    spawn_local(cni::serve(
        plugin,
        Rc::clone(pods),
        Rc::clone(metrics),
        shutdown.clone(),
    ));
    Ok(())
}

/// Where the plugin is installed.
fn places(config: Config) -> Places {
    Places {
        plugin: config.plugin,
        bin_dir: config.cni_bin_dir,
        conf_dir: config.cni_conf_dir,
        run_dir: config.run_dir,
        state_dir: config.state_dir,
        leave: config.leave,
    }
}

/// Waits until the last good tables are on disk.
async fn save(handle: &Handle) {
    if tokio::time::timeout(STOP_DEADLINE, handle.stopped())
        .await
        .is_err()
    {
        tracing::warn!(
            "stopped before the last good tables were on disk; the ones before them are"
        );
    }
}

/// A page whose text somebody else keeps.
fn text_of(page: Arc<Mutex<String>>) -> impl Fn(&str) -> Answer + Send + Sync + 'static {
    move |_| Answer::json(page.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Finds out which packet rules this node can do.
async fn rules(wanted: config::Flavour, run_dir: &Path) -> anyhow::Result<Arc<dyn RuleBackend>> {
    let locks = run_dir.join("locks");
    let probed = blocking(move || {
        let only = |flavour| {
            fs::create_dir_all(&locks)
                .map(|()| Iptables::only(flavour, locks.clone()))
                .map_err(weft_redirect::Error::Namespace)
        };
        match wanted {
            config::Flavour::Auto => Iptables::probe(locks.clone()),
            config::Flavour::Nft => only(Flavour::Nft),
            config::Flavour::Legacy => only(Flavour::Legacy),
        }
    });
    let rules = probed
        .await
        .map_err(|trouble| anyhow::anyhow!("{trouble}"))??;
    tracing::info!(flavours = ?rules.flavours(), "packet rules");
    Ok(Arc::new(rules))
}

/// Hands the pods of every new generation on. It counts as applied once the plugin's list is on disk: that is the part
/// of it which must outlive us.
async fn follow(
    handle: Handle,
    bound: watch::Sender<Arc<Bound>>,
    mut list: ListFile,
    (ready, leave): (Part, bool),
) {
    let mut changed = handle.changed();
    let mut up = None;
    loop {
        let state = Arc::clone(&changed.borrow_and_update());
        if state.generation > 0 {
            let next = Bound {
                generation: state.generation,
                pods: state.tables.pods.clone(),
                namespaces: Arc::clone(&state.tables.namespaces),
            };
            let next = Arc::new(if leave { next.left() } else { next });
            let text = Arc::clone(&next);
            let written = blocking(move || {
                let result = list.write(&text);
                (list, result)
            });
            let Ok((returned, result)) = written.await else {
                return;
            };
            list = returned;
            if let Err(error) = result {
                tracing::error!(%error, "the list of who is in the mesh cannot be written; pods outside the mesh need the agent to start");
            }
            // Most generations change other nodes only.
            bound.send_if_modified(|now| {
                let news = now.generation == 0 || now.pods != next.pods;
                *now = next;
                news
            });
            handle.set_applied(state.generation);
            up.get_or_insert_with(|| ready.up());
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn enrol(
    pods: Rc<Pods>,
    metrics: Rc<Metrics>,
    (page, leave, handle): (Arc<Mutex<String>>, Option<Rc<Leave>>, Handle),
    shutdown: CancellationToken,
) {
    if !pods.all().is_empty() {
        let mut proxies = pods.handover.changed();
        let _ = tokio::time::timeout(ADOPTION_GRACE, proxies.changed()).await;
    }
    let shown = Rc::clone(&pods);
    let report = move || {
        metrics.pods(&shown);
        *page.lock().unwrap_or_else(PoisonError::into_inner) = debug::pods(&shown);
        handle.report(debug::troubles(&shown));
        if let Some(leave) = &leave {
            leave.look(&shown);
        }
    };
    reconcile::run(pods, report, shutdown).await;
}

/// Three descriptors a pod, and the limit of a service is 1,024 by habit.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
