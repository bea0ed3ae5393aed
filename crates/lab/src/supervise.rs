//! The daemons in the lab's care: start, stop, kill, replace, revive.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};

use anyhow::{Context, bail};

use crate::daemon::{Daemon, Part, address};
use crate::event::Event;
use crate::lab::Lab;
use crate::launch::{Grounds, launch};
use crate::topology::Node;

/// Added to the ports of a second proxy.
const SECOND_PORTS: u16 = 10;

/// By part and node (empty for the operator).
pub(crate) type Daemons = BTreeMap<(Part, String), Daemon>;

impl Lab {
    /// Addresses of `/metrics` of all proxies.
    #[must_use]
    pub fn proxy_metrics(&self) -> Vec<SocketAddr> {
        let daemons = self.lock();
        let own = |node: &Node| {
            daemons
                .get(&(Part::Proxy, node.name.clone()))
                .map(Daemon::metrics)
        };
        let usual = |node: &Node| address(node.ip(), Part::Proxy.metrics_port());
        self.nodes()
            .iter()
            .map(|node| own(node).unwrap_or_else(|| usual(node)))
            .collect()
    }

    /// Starts a second proxy on a node, on ports of its own as a surging DaemonSet's pod has an address of its own, waits
    /// until it is ready, takes it into care and gives the first: the agent tells that one to drain.
    ///
    /// # Errors
    /// No proxy runs there, or the second does not become ready; the first stays in care then.
    pub async fn succeed(&self, node: &str) -> anyhow::Result<Daemon> {
        let old = self.take(Part::Proxy, node)?;
        let usual = Part::Proxy.metrics_port();
        let shift = if old.metrics().port() == usual {
            SECOND_PORTS
        } else {
            0
        };
        let next = launch(self.grounds(), Part::Proxy, node, shift);
        let ready = match next {
            Ok(mut next) => next.wait_ready().await.map(|()| next),
            Err(error) => Err(error),
        };
        match ready {
            Ok(next) => {
                self.put(Part::Proxy, node, next);
                Ok(old)
            }
            Err(error) => {
                self.put(Part::Proxy, node, old);
                Err(error)
            }
        }
    }

    /// Starts a daemon (`node` is empty for the operator) and waits until it is ready.
    ///
    /// # Errors
    /// It runs already, or does not become ready.
    pub async fn start(&self, part: Part, node: &str) -> anyhow::Result<()> {
        self.start_unready(part, node)?;
        let mut daemon = self.take(part, node)?;
        let ready = daemon.wait_ready().await;
        self.put(part, node, daemon);
        ready
    }

    /// Starts a daemon without waiting.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start_unready(&self, part: Part, node: &str) -> anyhow::Result<()> {
        let daemon = launch(self.grounds(), part, node, 0)?;
        let mut daemons = self.lock();
        if daemons.contains_key(&(part, node.to_owned())) {
            bail!("{} runs already; stop it first", daemon.name());
        }
        daemons.insert((part, node.to_owned()), daemon);
        Ok(())
    }

    /// SIGTERM. True when it ended by itself with code 0.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop(&self, part: Part, node: &str) -> anyhow::Result<bool> {
        Ok(self.take(part, node)?.stop().await?)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self, part: Part, node: &str) -> anyhow::Result<()> {
        Ok(self.take(part, node)?.kill().await?)
    }

    /// Takes a daemon out of the lab's care, for instance to start its successor beside it.
    ///
    /// # Errors
    /// It does not run.
    pub fn take(&self, part: Part, node: &str) -> anyhow::Result<Daemon> {
        let mut daemons = self.lock();
        let found = daemons.remove(&(part, node.to_owned()));
        found.with_context(|| format!("{} does not run on `{node}`", part.binary()))
    }

    /// Puts one under it again.
    pub fn put(&self, part: Part, node: &str, daemon: Daemon) {
        let mut daemons = self.lock();
        daemons.insert((part, node.to_owned()), daemon);
    }

    /// Process id of a daemon.
    #[must_use]
    pub fn pid(&self, part: Part, node: &str) -> Option<u32> {
        let daemons = self.lock();
        daemons.get(&(part, node.to_owned())).map(Daemon::pid)
    }

    /// Starts daemons again that have ended without being asked to, as a DaemonSet would; says which, how they ended and
    /// what they said last.
    #[must_use]
    pub fn revive(&self) -> Vec<String> {
        let mut daemons = self.lock();
        let mut news = Vec::new();
        for ((part, node), daemon) in daemons.iter_mut() {
            let Some(status) = daemon.ended() else {
                continue;
            };
            let (name, words) = (daemon.name().to_owned(), daemon.last_words());
            match launch(self.grounds(), *part, node, 0) {
                Ok(next) => {
                    *daemon = next;
                    news.push(format!("{name} has ended ({status}) and was started again"));
                }
                Err(error) => {
                    let how = format!("{name} has ended ({status}) and cannot be started again");
                    news.push(format!("{how}: {error:#}\n{words}"));
                }
            }
        }
        news
    }

    fn lock(&self) -> MutexGuard<'_, Daemons> {
        self.daemons()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Operator first, then agents and proxies of all nodes at once: an agent is ready once a proxy may be needed.
pub(crate) async fn start_mesh(grounds: &Grounds) -> anyhow::Result<Daemons> {
    let mut daemons = Daemons::new();
    for part in [Part::Operator, Part::Agent, Part::Proxy] {
        let names: Vec<&str> = match part {
            Part::Operator => vec![""],
            Part::Agent | Part::Proxy => grounds.nodes.iter().map(|n| n.name.as_str()).collect(),
        };
        let mut started = Vec::new();
        for name in names {
            started.push((name, launch(grounds, part, name, 0)?));
        }
        for (name, mut daemon) in started {
            daemon.wait_ready().await?;
            (grounds.config.report)(Event::Step(daemon.name().to_owned()));
            daemons.insert((part, name.to_owned()), daemon);
        }
    }
    Ok(daemons)
}
