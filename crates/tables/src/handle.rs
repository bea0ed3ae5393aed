//! What the owner of the tables holds: the current state, a way to wait for the next, and a way to ask for more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use weft_model::id::{ServiceId, WorkloadId};
use weft_model::table::Interest;
use weft_wire::table::{MAX_INTEREST, PodTrouble};

use crate::State;
use crate::session::Event;

/// The tables as their owner sees them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Handle {
    state: watch::Receiver<Arc<State>>,
    status: watch::Receiver<Status>,
    asked: Arc<Mutex<Interest>>,
    events: mpsc::UnboundedSender<Event>,
    tasks: TaskTracker,
}

/// The connection to the operator, for metrics, readiness and admin pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the stream stands.
    pub connected: bool,
    /// Generation last said to be applied (or loaded from disk).
    pub applied: u64,
    /// Deltas acknowledged since the start.
    pub deltas: u64,
    /// Deltas refused since the start, by us or by the owner.
    pub refused: u64,
    /// Why the last connection failed or ended, or why a delta was refused.
    pub last_error: Option<String>,
}

/// The client task's ends of a handle's channels.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) state: watch::Sender<Arc<State>>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    asked: Arc<Mutex<Interest>>,
}

pub(crate) fn new(state: Arc<State>, interest: Interest) -> (Handle, Owner) {
    let status = Status {
        applied: state.generation,
        ..Status::default()
    };
    let (state, state_seen) = watch::channel(state);
    let (status, status_seen) = watch::channel(status);
    let (sender, events) = mpsc::unbounded_channel();
    let asked = Arc::new(Mutex::new(interest));
    let tasks = TaskTracker::new();
    let handle = Handle {
        state: state_seen,
        status: status_seen,
        asked: Arc::clone(&asked),
        events: sender,
        tasks,
    };
    (
        handle,
        Owner {
            state,
            status,
            events,
            asked,
        },
    )
}

impl Handle {
    /// The newest tables that have been received (the owner may still be switching to them).
    #[must_use]
    pub fn current(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Wakes on every new state. Answer each with [`Self::set_applied`] or [`Self::nack`]. No two states have the same
    /// generation, also when only what was asked for has arrived.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// The connection's status; a watch, so that readiness and tests can wait on it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Asks for a service with all it needs. Cheap to call again and again; remembered across reconnects and restarts.
    pub fn want_service(&self, id: ServiceId) {
        let mut asked = lock(&self.asked);
        if asked.services.len() < MAX_INTEREST && asked.services.insert(id) {
            let interest = Interest {
                services: [id].into(),
                ..Interest::default()
            };
            self.send(Event::Wanted(interest));
        }
    }

    /// Asks for a workload's metadata. Cheap to call again and again; remembered across reconnects and restarts.
    pub fn want_workload(&self, id: WorkloadId) {
        let mut asked = lock(&self.asked);
        if asked.workloads.len() < MAX_INTEREST && asked.workloads.insert(id) {
            let interest = Interest {
                workloads: [id].into(),
                ..Interest::default()
            };
            self.send(Event::Wanted(interest));
        }
    }

    /// The state of this generation is in use: it is acknowledged, and becomes the last good one.
    pub fn set_applied(&self, generation: u64) {
        self.send(Event::Applied(generation));
    }

    /// The state of this generation cannot be used. [`Self::current`] goes back to the last good one.
    pub fn nack(&self, generation: u64, reason: impl Into<String>) {
        self.send(Event::Refused {
            generation,
            reason: reason.into(),
        });
    }

    /// Pods that should be captured and are not; takes the place of what was said before, also for an operator that is
    /// connected later.
    pub fn report(&self, troubles: Vec<PodTrouble>) {
        self.send(Event::Troubles(troubles));
    }

    /// Returns when the client has stopped after its shutdown token was cancelled and the last good state is on disk.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }

    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.tasks
    }

    fn send(&self, event: Event) {
        // Fails only after shutdown, when nobody is left to tell.
        let _ = self.events.send(event);
    }
}

impl Owner {
    /// Forgets that these were asked for, so that they can be asked for again.
    pub(crate) fn forget(&self, gone: &Interest) {
        let mut asked = lock(&self.asked);
        asked.services.retain(|id| !gone.services.contains(id));
        asked.workloads.retain(|id| !gone.workloads.contains(id));
    }
}

fn lock(asked: &Mutex<Interest>) -> MutexGuard<'_, Interest> {
    // A set stays a set whatever panicked while it held the lock.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
