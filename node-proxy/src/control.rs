//! The control thread's view of the pods: takes the agent's messages, drives `pods::state`, moves sockets to workers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weft_netns::Netns;
use weft_wire::pod::{ToAgent, ToProxy};

use crate::pods::Pod;
use crate::pods::source::{FromAgent, Link, PodSockets};
use crate::pods::state::{Action, Event, State};
use crate::worker::{Command, Shared};

/// What wakes the control loop.
pub(crate) struct Inbox {
    /// From the agent's thread.
    pub(crate) agent: mpsc::UnboundedReceiver<FromAgent>,
    /// Pods that became idle while they were released.
    pub(crate) idle: mpsc::UnboundedReceiver<String>,
    /// Cancelled when tables of generation 1 or later are held.
    pub(crate) tables: CancellationToken,
}

/// The pods and their way to the workers.
pub(crate) struct Control {
    shared: Arc<Shared>,
    link: Link,
    state: State,
    held: HashMap<String, PodSockets>,
    next_serial: u64,
    served: (
        mpsc::UnboundedSender<Served>,
        mpsc::UnboundedReceiver<Served>,
    ),
    /// Cancelled when the agent tells us to leave.
    drain: CancellationToken,
}

/// A worker's answer to `Listen`.
struct Served {
    uid: String,
    serial: u64,
    result: Result<(), String>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>, link: Link, drain: CancellationToken) -> Self {
        let served = mpsc::unbounded_channel();
        Self {
            shared,
            link,
            state: State::default(),
            held: HashMap::new(),
            next_serial: 1,
            served,
            drain,
        }
    }

    /// Runs until the agent's thread ends.
    pub(crate) async fn run(mut self, mut inbox: Inbox) {
        let mut tables_ready = false;
        loop {
            tokio::select! {
                event = inbox.agent.recv() => match event {
                    Some(event) => self.agent(event),
                    None => return,
                },
                Some(served) = self.served.1.recv() => self.served(served),
                Some(uid) = inbox.idle.recv() => self.link.send(&ToAgent::Idle { uid }),
                () = inbox.tables.cancelled(), if !tables_ready => {
                    tables_ready = true;
                    self.handle(Event::TablesReady, None);
                }
            }
            self.shared
                .counters
                .pods
                .set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
        }
    }

    fn agent(&mut self, event: FromAgent) {
        match event {
            FromAgent::Connected(socket) => {
                self.link.set(Some(socket));
                let held = self.state.held().filter_map(|uid| self.held.get(uid));
                self.link.announce(held);
                self.handle(Event::Connected, None);
            }
            FromAgent::Pod(sockets) => {
                let uid = sockets.pod.uid.clone();
                self.handle(Event::Pod(&uid), Some(*sockets));
            }
            FromAgent::Message(ToProxy::Keep { uid }) => {
                if let Some(pod) = self.shared.pods.load().get(&uid) {
                    pod.keep();
                }
                self.handle(Event::Keep(&uid), None);
            }
            FromAgent::Message(ToProxy::Del { uid }) => self.handle(Event::Del(&uid), None),
            FromAgent::Message(ToProxy::SnapshotEnd) => self.handle(Event::SnapshotEnd, None),
            FromAgent::Message(ToProxy::Releasing { uid }) => self.releasing(uid),
            FromAgent::Message(ToProxy::Drain) => {
                tracing::info!("the agent asks us to drain: another proxy is ready");
                self.drain.cancel();
            }
            FromAgent::Message(ToProxy::Pod(pod)) => {
                tracing::error!(pod = %pod.uid, "a pod came without its sockets");
            }
        }
    }

    fn releasing(&self, uid: String) {
        let pods = self.shared.pods.load();
        let Some(pod) = pods.get(&uid) else {
            return self.link.send(&ToAgent::Idle { uid });
        };
        if pod.release() {
            return self.link.send(&ToAgent::Idle { uid });
        }
        for worker in &self.shared.workers {
            // A worker that is gone has nothing open.
            let _ = worker.send(Command::Release(Arc::clone(pod)));
        }
    }

    fn served(&mut self, served: Served) {
        let current = self
            .shared
            .pods
            .load()
            .get(&served.uid)
            .is_some_and(|pod| pod.serial == served.serial);
        match served.result {
            _ if !current => {}
            Ok(()) => self.handle(Event::Serving(&served.uid), None),
            Err(reason) => {
                self.stop(&served.uid);
                self.handle(Event::Refused(&served.uid, reason), None);
            }
        }
    }

    fn handle(&mut self, event: Event<'_>, mut sockets: Option<PodSockets>) {
        for action in self.state.handle(event) {
            match action {
                Action::Send(message) => self.link.send(&message),
                Action::Stop(uid) => self.stop(&uid),
                Action::Serve(uid) => {
                    let started = match sockets.take() {
                        Some(sockets) => self.serve(&uid, sockets),
                        None => Err("the pod came without its sockets".to_owned()),
                    };
                    if let Err(reason) = started {
                        tracing::error!(pod = %uid, %reason, "cannot serve a pod");
                        self.handle(Event::Refused(&uid, reason), None);
                    }
                }
            }
        }
    }

    /// Gives a pod's listeners to its home worker and makes the pod known to all.
    fn serve(&mut self, uid: &str, sockets: PodSockets) -> Result<(), String> {
        let kept = sockets
            .try_clone()
            .map_err(|error| format!("cannot duplicate the pod's sockets: {error}"))?;
        let netns = Netns::from_fd(sockets.netns)
            .map_err(|error| format!("not a network namespace: {error}"))?;
        let serial = self.next_serial;
        self.next_serial += 1;
        let pod = Arc::new(Pod::new(
            serial,
            uid.to_owned(),
            sockets.pod.ips.clone(),
            netns,
        ));
        let home = self.home(uid)?;
        let (served, answer) = oneshot::channel();
        let (outbound, inbound) = (sockets.outbound, sockets.inbound);
        self.shared.pods.insert(Arc::clone(&pod));
        home.send(Command::Listen {
            pod,
            outbound,
            inbound,
            served,
        })
        .map_err(|_| "the worker is gone".to_owned())?;
        self.held.insert(uid.to_owned(), kept);
        let (uid, answers) = (uid.to_owned(), self.served.0.clone());
        tokio::spawn(async move {
            let result = answer
                .await
                .unwrap_or_else(|_| Err("the worker is gone".to_owned()));
            // The control loop ends only with the process.
            let _ = answers.send(Served {
                uid,
                serial,
                result,
            });
        });
        Ok(())
    }

    /// The worker that polls a pod's listeners: always the same for a uid, so that load spreads without talk.
    fn home(&self, uid: &str) -> Result<&mpsc::UnboundedSender<Command>, String> {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        let workers = &self.shared.workers;
        let index = hasher.finish() as usize % workers.len().max(1);
        workers
            .get(index)
            .ok_or_else(|| "there is no worker".to_owned())
    }

    /// Closes every descriptor of a pod: open ones would keep a dead pod's namespace alive.
    fn stop(&mut self, uid: &str) {
        self.held.remove(uid);
        if let Some(pod) = self.shared.pods.remove(uid) {
            tracing::info!(pod = %uid, connections = pod.connections(), "pod is gone");
            pod.gone.cancel();
            for worker in &self.shared.workers {
                // A worker that is gone has closed everything already.
                let _ = worker.send(Command::Stop(Arc::clone(&pod)));
            }
        }
    }
}

/// Stops accepting everywhere. When it returns, every connection that was ever accepted has ended or is counted.
pub(crate) async fn drain(shared: &Shared) {
    shared.draining.store(true, Ordering::Release);
    for worker in &shared.workers {
        let (done, stopped) = oneshot::channel();
        // A worker that is gone accepts nothing.
        if worker.send(Command::Drain(done)).is_ok() {
            let _ = stopped.await;
        }
    }
}

/// Open connections on all workers.
pub(crate) fn open_connections(shared: &Shared) -> usize {
    shared
        .load
        .iter()
        .map(|load| load.load(Ordering::Relaxed))
        .sum()
}
