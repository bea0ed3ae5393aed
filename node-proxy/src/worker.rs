//! One data-path thread: a current-thread runtime on which everything is `Rc` and nothing is `Send` (contracts.md §9.1).
//!
//! Every connection is one task. A panic ends that task alone. A pod that goes takes its tasks with it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use weft_decide::Prepared;
use weft_decide::lb::LocalState;
use weft_observe::Shard;

use crate::config::MAX_CONNECTIONS_PER_POD;
use crate::counters::Counters;
use crate::l4::{self, Accepted, Direction};
use crate::l7::mirror::Mirrors;
use crate::l7::pool::Pool;
use crate::net::buffer::BufferPool;
use crate::pods::Pod;
use crate::pods::directory::{Directory, Pods};
use crate::record::{AccessLogs, Edges};
use crate::tables::Current;

/// Between two sweeps of idle upstream connections.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A worker takes a connection itself unless it has this many more than the least loaded one …
const SPREAD_SLACK: usize = 16;
/// … and also this many times as many (in halves: 3 = 1.5 times).
const SPREAD_HALVES: usize = 3;

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

    /// Takes a connection that `pod`'s listener has accepted, here or on a less loaded worker.
    fn place(self: &Rc<Self>, pod: &Arc<Pod>, direction: Direction, stream: tokio::net::TcpStream) {
        if !pod.enter(MAX_CONNECTIONS_PER_POD) {
            self.shared.counters.refused_connections.inc();
            crate::net::reset_on_close(&stream);
            return;
        }
        let least = self.least_loaded();
        let open = Open::new(Arc::clone(&self.shared), least, Arc::clone(pod));
        if least == self.id {
            return self.carry(open, direction, stream);
        }
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let command = Command::Carry {
            open,
            direction,
            stream,
        };
        if let Some(worker) = self.shared.workers.get(least) {
            // A worker that is gone means the process is going; the stream closes with the command.
            let _ = worker.send(command);
        }
    }

    fn carry(self: &Rc<Self>, open: Open, direction: Direction, stream: tokio::net::TcpStream) {
        crate::net::prepare(&stream);
        let worker = Rc::clone(self);
        let pod = Arc::clone(&open.pod);
        let accepted = Accepted {
            worker,
            pod: Arc::clone(&pod),
            direction,
            _open: open,
        };
        let _ = self.spawn_for(&pod, move || l4::serve(accepted, stream));
    }

    /// This worker, unless another has so much less to do that passing a connection on pays.
    fn least_loaded(&self) -> usize {
        let loads = &self.shared.load;
        let load = |id: usize| {
            loads
                .get(id)
                .map_or(0, |count| count.load(Ordering::Relaxed))
        };
        let mine = load(self.id);
        let Some(least) = (0..loads.len()).min_by_key(|id| load(*id)) else {
            return self.id;
        };
        if mine * 2 > load(least) * SPREAD_HALVES + SPREAD_SLACK * 2 {
            least
        } else {
            self.id
        }
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

    fn listen(
        self: &Rc<Self>,
        pod: &Arc<Pod>,
        outbound: std::net::TcpListener,
        inbound: std::net::TcpListener,
    ) -> std::io::Result<()> {
        if self.draining() {
            return Err(std::io::Error::other("this proxy is draining"));
        }
        let outbound = TcpListener::from_std(outbound)?;
        let inbound = TcpListener::from_std(inbound)?;
        for (direction, listener) in [
            (Direction::Outbound, outbound),
            (Direction::Inbound, inbound),
        ] {
            let (worker, pod) = (Rc::clone(self), Arc::clone(pod));
            let accepting = self.spawn_for(&Arc::clone(&pod), move || {
                worker.accept(pod, direction, listener)
            });
            self.accepting.borrow_mut().push(accepting);
        }
        Ok(())
    }

    /// Accepts for ever: no error of one connection, and no lack of descriptors or memory, ends it.
    async fn accept(self: Rc<Self>, pod: Arc<Pod>, direction: Direction, listener: TcpListener) {
        let mut pause = ACCEPT_PAUSE_FIRST;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    pause = ACCEPT_PAUSE_FIRST;
                    self.place(&pod, direction, stream);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.shared.counters.accept_errors.inc();
                    tracing::warn!(pod = %pod.uid, %error, "cannot accept; connections wait in the backlog");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MOST);
                }
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

/// First pause of an accept loop that lacks descriptors or memory.
const ACCEPT_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause of such a loop.
const ACCEPT_PAUSE_MOST: Duration = Duration::from_secs(1);

/// Errors that concern the connection that was to be accepted and not the listener (accept(2)).
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Counts one open connection from its acceptance to its end, on its way between workers too.
pub(crate) struct Open {
    shared: Arc<Shared>,
    /// Worker that carries it.
    worker: usize,
    pod: Arc<Pod>,
}

impl Open {
    /// Counts a connection that `pod` has let in.
    fn new(shared: Arc<Shared>, worker: usize, pod: Arc<Pod>) -> Self {
        if let Some(load) = shared.load.get(worker) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            shared,
            worker,
            pod,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(load) = self.shared.load.get(self.worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
        if self.pod.leave() {
            // The control thread outlives the workers.
            let _ = self.shared.idle.send(self.pod.uid.clone());
        }
    }
}

/// Counts one upstream connection in the namespace it was opened in: a pod is released only after the last one.
pub(crate) struct Inside {
    shared: Arc<Shared>,
    pub(crate) pod: Arc<Pod>,
}

impl Inside {
    /// Counts a connection that is about to be opened.
    pub(crate) fn new(shared: Arc<Shared>, pod: Arc<Pod>) -> Self {
        pod.open_inside();
        Self { shared, pod }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.pod.close_inside() {
            // As above.
            let _ = self.shared.idle.send(self.pod.uid.clone());
        }
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
