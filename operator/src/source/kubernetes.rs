//! The Kubernetes API as a source: one watch per kind, one cache that they fill, and the whole of it given away after
//! each change once every kind has been listed. Watches end all the time (an old version, a disconnect, a restart of the
//! API server); each begins anew by itself, and what was read stays in force until it has something newer.

mod cache;
mod watch;

use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::mpsc;
use weft_k8s::Kind;

use self::cache::Cache;
pub(crate) use self::watch::READ_TIMEOUT;
use self::watch::Watch;
use super::{ManifestSource, Sink};
use crate::cluster::writer::Carried;

/// News that wait for the cache; a watch waits beyond that.
const QUEUE: usize = 1024;
/// Copying the whole set takes at most this share of the time (one in so many), so that churn in a big cluster costs a
/// little delay and not a core.
const REST: u32 = 4;
/// Longest such delay.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// While kinds are missing, they are named this often.
const REMIND: Duration = Duration::from_secs(10);

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    carried: Carried,
}

impl Cluster {
    /// The cluster that this client talks to; `carried` is told what policies carry.
    #[must_use]
    pub fn new(client: Client, carried: Carried) -> Self {
        Self { client, carried }
    }
}

impl ManifestSource for Cluster {
    async fn watch(self, sink: Sink) {
        let (updates, mut incoming) = mpsc::channel(QUEUE);
        let mut watches = tokio::task::JoinSet::new();
        for kind in Kind::ALL {
            let watch = Watch {
                client: self.client.clone(),
                kind: *kind,
                updates: updates.clone(),
            };
            watches.spawn(watch.run());
        }
        let mut cache = Cache::new(Kind::ALL.iter().copied(), self.carried);
        let mut different = false;
        let mut due = Instant::now();
        loop {
            let news = if different {
                let due = tokio::time::Instant::from_std(due);
                tokio::time::timeout_at(due, incoming.recv()).await
            } else {
                Ok(next(&mut incoming, &cache).await)
            };
            match news {
                Ok(Some((kind, update))) => {
                    different |= cache.take(kind, update);
                    while let Ok((kind, update)) = incoming.try_recv() {
                        different |= cache.take(kind, update);
                    }
                }
                // Never: we hold a sender ourselves.
                Ok(None) => return,
                Err(_) => {}
            }
            if different && due <= Instant::now() {
                let begun = Instant::now();
                if let Some(manifests) = cache.manifests() {
                    sink.give(manifests);
                }
                different = false;
                due = Instant::now() + (begun.elapsed() * REST).min(LONGEST_REST);
            }
        }
    }
}

/// The next news; meanwhile says what is still missing.
async fn next(
    incoming: &mut mpsc::Receiver<(Kind, cache::Update)>,
    cache: &Cache,
) -> Option<(Kind, cache::Update)> {
    loop {
        match tokio::time::timeout(REMIND, incoming.recv()).await {
            Ok(news) => return news,
            Err(_) if cache.waiting().is_empty() => {}
            Err(_) => {
                let kinds: Vec<&str> = cache.waiting().iter().map(|kind| kind.name()).collect();
                tracing::warn!(
                    kinds = kinds.join(", "),
                    "waiting for the API server; nothing is published before all kinds are known"
                );
            }
        }
    }
}
