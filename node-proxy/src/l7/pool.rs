//! Idle upstream connections of one worker.
//!
//! A connection is lent only under the same key: namespace it was opened in, source pod, address it comes from, address
//! it goes to. No two source pods ever share one (hardening V72). The newest is lent first, so that the oldest can expire.
//! One that leaves the pod's network grows old (`WIRE_AGE`): it may have been opened past the proxy of an endpoint that
//! was captured only later, and what bounds its age bounds how long requests go that way.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::upstream::Upstream;
use crate::net::connect::From;

/// Idle connections kept for one key. Whoever has so many requests at once sends them in bursts, and each connection above
/// the limit would be opened and closed once a burst (docs/adr/0014).
const MAX_IDLE_PER_KEY: usize = 256;
/// Idle connections kept by one worker.
const MAX_IDLE: usize = 4096;
/// An idle connection is closed after this long.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection to another pod's network is lent for this long, and up to half as long again, so that not all end at once.
const WIRE_AGE: Duration = Duration::from_secs(10);

/// Who may use a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Serial number of the pod in whose namespace the socket lives.
    pub(crate) opened_in: u64,
    /// Serial number of the pod whose request it carries; 0 for clients outside this node.
    pub(crate) source: u64,
    /// Address it comes from.
    pub(crate) from: From,
    /// Address it goes to.
    pub(crate) to: SocketAddr,
}

impl Key {
    /// Until when a connection that is opened now may be lent; none: as long as it lives, since it ends in the
    /// endpoint's own network. `random` spreads the ends.
    pub(crate) fn lent_until(&self, now: Instant, random: u64) -> Option<Instant> {
        let spread = WIRE_AGE.as_millis() as u64 / 2;
        let extra = Duration::from_millis(random % spread);
        (self.from == From::Pod).then(|| now + WIRE_AGE + extra)
    }
}

/// A connection, and since when nobody has used it.
type Idle = (Instant, Box<Upstream>);

/// Idle connections by key.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>, RandomState>>,
    count: Cell<usize>,
    /// Whether nothing is kept any more.
    closed: Cell<bool>,
}

impl Pool {
    /// A live connection for `key`, or none. Connections that are too old, that the peer has closed, or that have said
    /// something nobody asked for, are dropped on the way.
    pub(crate) fn take(&self, key: &Key) -> Option<Box<Upstream>> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(key)?;
        while let Some((_, upstream)) = list.pop() {
            self.count.set(self.count.get().saturating_sub(1));
            if upstream.is_young() && upstream.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn give(&self, upstream: Box<Upstream>) {
        let pod = &upstream.inside.pod;
        if self.closed.get() || self.count.get() >= MAX_IDLE || pod.is_releasing() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(upstream.key).or_default();
        if list.len() < MAX_IDLE_PER_KEY {
            list.push((Instant::now(), upstream));
            self.count.set(self.count.get() + 1);
        }
    }

    /// Closes what was idle too long, and every connection that nobody may use any more.
    pub(crate) fn sweep(&self, now: Instant, gone: impl Fn(&Key) -> bool) {
        let mut kept = 0;
        self.idle.borrow_mut().retain(|key, list| {
            if gone(key) {
                return false;
            }
            list.retain(|(since, upstream)| {
                now.duration_since(*since) < IDLE_TIMEOUT
                    && upstream.is_young()
                    && upstream.is_quiet()
            });
            kept += list.len();
            !list.is_empty()
        });
        self.count.set(kept);
    }

    /// Closes everything and keeps nothing from now on. The other end of an idle connection may be this very proxy (a pod
    /// that is reached through its veth), and a drain would wait for it.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.count.set(0);
    }

    /// Connections that are idle now.
    pub(crate) fn len(&self) -> usize {
        self.count.get()
    }
}
