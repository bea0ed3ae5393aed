//! What keeps a pod's numbers right: guards that count a connection for as long as it lives, wherever it is carried and
//! however it ends. The last one of a pod that is being released tells the agent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use crate::pods::Pod;

/// Counts one open connection from its acceptance to its end, on its way between workers too.
pub(crate) struct Open {
    shared: Arc<Shared>,
    /// Worker that carries it.
    worker: usize,
    pub(super) pod: Arc<Pod>,
}

impl Open {
    /// Counts a connection that `pod` has let in.
    pub(super) fn new(shared: Arc<Shared>, worker: usize, pod: Arc<Pod>) -> Self {
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
