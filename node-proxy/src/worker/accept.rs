//! From a listener to the worker that carries the connection: the pod's home worker accepts, keeps to the pod's limit, and
//! passes on what another worker has more time for (contracts.md §9.2). No error of one connection, and no lack of
//! descriptors, ends an accept loop.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Command, Open, Worker};
use crate::config::MAX_CONNECTIONS_PER_POD;
use crate::l4::{self, Accepted, Direction};
use crate::pods::Pod;

/// A worker takes a connection itself unless it has this many more than the least loaded one …
const SPREAD_SLACK: usize = 16;
/// … and also this many times as many (in halves: 3 = 1.5 times).
const SPREAD_HALVES: usize = 3;
/// First pause of an accept loop that lacks descriptors or memory.
const ACCEPT_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause of such a loop.
const ACCEPT_PAUSE_MOST: Duration = Duration::from_secs(1);

impl Worker {
    /// Polls a pod's two listeners from now on.
    pub(super) fn listen(
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

    /// Serves a connection on this worker.
    pub(super) fn carry(
        self: &Rc<Self>,
        open: Open,
        direction: Direction,
        stream: tokio::net::TcpStream,
    ) {
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
}

/// Errors that concern the connection that was to be accepted and not the listener (accept(2)).
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
