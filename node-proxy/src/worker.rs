//! One data-path thread: a current-thread runtime on which everything is `Rc` and nothing is `Send` (contracts.md §9.1).
//!
//! Every connection is one task. A panic ends that task alone. A pod that goes takes its tasks with it. How connections
//! are accepted and spread over the workers is in `accept`, how they are counted in `count`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use weft_decide::Prepared;
use weft_decide::lb::LocalState;
use weft_observe::Shard;

use crate::counters::Counters;
use crate::l4::Direction;
use crate::l7::mirror::Mirrors;
use crate::l7::pool::Pool;
use crate::net::buffer::BufferPool;
use crate::pods::Pod;
use crate::pods::directory::{Directory, Pods};
use crate::record::{AccessLogs, Edges};
use crate::tables::Current;

mod accept;
mod count;

pub(crate) use count::{Inside, Open};

/// Between two sweeps of idle upstream connections.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What all threads share.
pub(crate) struct Shared {
    /// Tables.
    pub(crate) tables: Current,
    /// Where services and workloads are asked for on first use.
    pub(crate) subscriptions: weft_tables::Handle,
    /// Served pods.
    pub(crate) pods: Directory,
    /// Whether an agent told us to leave.
    pub(crate) draining: AtomicBool,
    /// Open connections by worker.
    pub(crate) load: Vec<AtomicUsize>,
    /// Ways to the workers, by number.
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    /// Pods that became idle while being released, for the agent.
    pub(crate) idle: mpsc::UnboundedSender<String>,
    /// Self metrics.
    pub(crate) counters: Counters,
    /// Access log settings and writer.
    pub(crate) access_logs: AccessLogs,
}

/// Told to a worker.
pub(crate) enum Command {
    /// Poll these listeners (outbound, inbound) and say so.
    Listen {
        pod: Arc<Pod>,
        outbound: std::net::TcpListener,
        inbound: std::net::TcpListener,
        served: tokio::sync::oneshot::Sender<Result<(), String>>,
    },
    /// Close everything of this pod.
    Stop(Arc<Pod>),
    /// Close what is idle in this pod's namespace or in its name: it is being released.
    Release(Arc<Pod>),
    /// Carry a connection that another worker has accepted.
    Carry {
        open: Open,
        direction: Direction,
        stream: std::net::TcpStream,
    },
    /// Stop accepting, and say so: from then on no connection comes but those that are counted already.
    Drain(tokio::sync::oneshot::Sender<()>),
}

/// One thread's state.
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) buffers: BufferPool,
    pub(crate) upstreams: Pool,
    pub(crate) mirrors: Mirrors,
    pub(crate) shard: Arc<Shard>,
    pub(crate) balance: RefCell<LocalState>,
    pub(crate) edges: Edges,
    /// Wakes idle client connections when a drain begins or a pod is released.
    pub(crate) leaving: Notify,
    random: Cell<u64>,
    tables: RefCell<(u64, Arc<Prepared>)>,
    pods: RefCell<(u64, Arc<Pods>)>,
    tasks: RefCell<HashMap<u64, HashMap<tokio::task::Id, AbortHandle>>>,
    accepting: RefCell<Vec<AbortHandle>>,
}

impl Worker {
    pub(crate) fn new(id: usize, seed: u64, shared: Arc<Shared>, shard: Arc<Shard>) -> Rc<Self> {
        let tables = RefCell::new((shared.tables.version(), shared.tables.load()));
        let pods = RefCell::new((shared.pods.generation(), shared.pods.load()));
        Rc::new(Self {
            id,
            buffers: BufferPool::default(),
            upstreams: Pool::default(),
            mirrors: Mirrors::default(),
            shard,
            balance: RefCell::default(),
            edges: Edges::new(seed),
            leaving: Notify::new(),
            random: Cell::new(seed | 1),
            tables,
            pods,
            tasks: RefCell::default(),
            accepting: RefCell::default(),
            shared,
        })
    }

    /// Runs until the commands end.
    pub(crate) async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// The tables to decide with; a request keeps what it got.
    pub(crate) fn tables(&self) -> Arc<Prepared> {
        let version = self.shared.tables.version();
        let mut cached = self.tables.borrow_mut();
        if cached.0 != version {
            *cached = (version, self.shared.tables.load());
        }
        Arc::clone(&cached.1)
    }

    /// The pods served now.
    pub(crate) fn pods(&self) -> Arc<Pods> {
        let generation = self.shared.pods.generation();
        let mut cached = self.pods.borrow_mut();
        if cached.0 != generation {
            *cached = (generation, self.shared.pods.load());
        }
        Arc::clone(&cached.1)
    }

    /// The next of a worker's own random numbers (Steele, Lea, Flood: splitmix64).
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether new requests should be sent away after they are answered.
    pub(crate) fn draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Runs a task that ends when the pod is stopped. The task is made inside, or its size would count twice.
    pub(crate) fn spawn_for<F: Future<Output = ()>>(
        self: &Rc<Self>,
        pod: &Pod,
        task: impl FnOnce() -> F + 'static,
    ) -> AbortHandle {
        let serial = pod.serial;
        let worker = Rc::clone(self);
        let handle = tokio::task::spawn_local(async move {
            let _forget = Forget {
                worker,
                serial,
                id: tokio::task::id(),
            };
            task().await;
        });
        let abort = handle.abort_handle();
        self.tasks
            .borrow_mut()
            .entry(serial)
            .or_default()
            .insert(handle.id(), abort.clone());
        abort
    }

    fn command(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen {
                pod,
                outbound,
                inbound,
                served,
            } => {
                let result = self
                    .listen(&pod, outbound, inbound)
                    .map_err(|error| error.to_string());
                // Nobody waits any more when the agent connection was replaced meanwhile.
                let _ = served.send(result);
            }
            Command::Stop(pod) => self.stop(&pod),
            Command::Release(pod) => {
                self.close_idle(&pod);
                self.leaving.notify_waiters();
            }
            Command::Carry {
                open,
                direction,
                stream,
            } => {
                // The pod may have been stopped while its connection was on its way here.
                let served = self.pods().iter().any(|pod| pod.serial == open.pod.serial);
                if let (true, Ok(stream)) = (served, tokio::net::TcpStream::from_std(stream)) {
                    self.carry(open, direction, stream);
                }
            }
            Command::Drain(done) => {
                self.stop_accepting();
                // Who waits for it may have lost patience.
                let _ = done.send(());
            }
        }
    }

    fn stop(&self, pod: &Pod) {
        self.accepting
            .borrow_mut()
            .retain(|task| !task.is_finished());
        let tasks = self.tasks.borrow_mut().remove(&pod.serial);
        for (_, task) in tasks.into_iter().flatten() {
            task.abort();
        }
        self.close_idle(pod);
        // Lets go of the last state's pods, and with them of the namespace.
        let _ = self.pods();
    }

    fn close_idle(&self, pod: &Pod) {
        self.upstreams.sweep(Instant::now(), |key| {
            key.opened_in == pod.serial || key.source == pod.serial
        });
    }

    /// Ends the accept loops and closes our copies of the listeners; the agent's and the next proxy's stay open.
    fn stop_accepting(&self) {
        for task in self.accepting.borrow_mut().drain(..) {
            task.abort();
        }
        self.upstreams.close();
        self.leaving.notify_waiters();
    }

    fn sweep(&self) {
        let pods = self.pods();
        let live: std::collections::HashSet<u64> = pods.iter().map(|pod| pod.serial).collect();
        self.upstreams
            .sweep(Instant::now(), |key| !live.contains(&key.opened_in));
        self.shared
            .counters
            .idle_upstreams(self.id, self.upstreams.len());
    }
}

/// Forgets a task's handle when the task ends, however it ends.
struct Forget {
    worker: Rc<Worker>,
    serial: u64,
    id: tokio::task::Id,
}

impl Drop for Forget {
    fn drop(&mut self) {
        let mut tasks = self.worker.tasks.borrow_mut();
        if let Some(of_pod) = tasks.get_mut(&self.serial) {
            of_pod.remove(&self.id);
            if of_pod.is_empty() {
                tasks.remove(&self.serial);
            }
        }
    }
}
