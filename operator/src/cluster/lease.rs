//! Leader election by a Lease. The leader serves nodes and writes status; the other replicas stay warm, with everything read
//! and compiled, and send nodes to the leader, whose address stands in the lease. So there is one count of nodes and one
//! numbering of generations. The lease carries the last number too, and whoever leads next counts on above it.
//!
//! A lease is judged by how long *we* have seen it unchanged, never by the time written in it, so clocks may differ.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weft_wire::table::MAX_GENERATION;

use crate::pipeline::Handle;
use weft_access::reason;

/// A lease that has not changed for so long is anybody's.
pub const LEASE_SECONDS: u32 = 15;
/// The holder renews this often ...
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// ... and doubts that it leads when it could not for so long: before anybody else may begin.
const DOUBT_AFTER: Duration = Duration::from_secs(10);
/// Others look this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A new generation is written into the lease, at most this often.
const NUMBER_EVERY: Duration = Duration::from_secs(1);
/// More generations than are published between two such writes: a new leader skips as many.
const MARGIN: u64 = 100;
/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(3);

/// Annotation: where nodes reach the holder.
const ADDRESS: &str = "weft.mesh/address";
/// Annotation: the last generation that the holder has published.
const GENERATION: &str = "weft.mesh/generation";

/// What this replica is among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// It serves nodes and writes into the API.
    Leads,
    /// It led, nobody else is known to lead, and the API server does not answer: it serves on, for nodes have no one else,
    /// and writes nothing.
    Doubts,
    /// Another one leads, or none yet.
    Follows {
        /// Where nodes reach the one that leads.
        leader: Option<SocketAddr>,
    },
}

/// Follows the election. Without one (a directory of manifests) the only replica leads.
pub type Seats = watch::Receiver<Seat>;

impl Seat {
    /// Where nodes reach the one that leads, if that is another one and known.
    #[must_use]
    pub fn leader(&self) -> Option<SocketAddr> {
        match self {
            Self::Follows { leader } => *leader,
            Self::Leads | Self::Doubts => None,
        }
    }
}

/// The seat of an operator that is alone.
#[must_use]
pub fn alone() -> Seats {
    watch::channel(Seat::Leads).1
}

/// One replica's candidacy.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    address: Option<SocketAddr>,
    pipeline: Handle,
    /// What the lease said and since when we have seen it so.
    seen: Option<(LeaseSpec, Instant)>,
    renewed: Option<Instant>,
}

/// What became of one attempt.
enum Attempt {
    /// The lease is ours; the last number of whoever had it before, if that was not us.
    Won { last: Option<u64> },
    /// It is another one's.
    Lost { leader: Option<SocketAddr> },
}

impl Election {
    /// A candidate called `identity` for the lease `name`, which nodes reach at `address`.
    #[must_use]
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        identity: String,
        address: Option<SocketAddr>,
        pipeline: Handle,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            address,
            pipeline,
            seen: None,
            renewed: None,
        }
    }

    /// Takes part until `shutdown`, then gives the lease back; `seat` tells what this replica is.
    pub async fn run(mut self, seat: watch::Sender<Seat>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.campaign(&seat)).await;
        seat.send_replace(Seat::Follows { leader: None });
        if self.renewed.is_some() {
            // Best effort: without it the next leader waits for the lease to run out.
            let _ = tokio::time::timeout(REQUEST, self.release()).await;
        }
    }

    async fn campaign(&mut self, seat: &watch::Sender<Seat>) {
        let mut published = self.pipeline.changes();
        // A leader that has read nothing yet would serve nothing.
        if published
            .wait_for(|published| published.generation > 0)
            .await
            .is_err()
        {
            return;
        }
        loop {
            published.mark_unchanged();
            let now = *seat.borrow();
            let next = self.round(now).await;
            let changed = seat.send_if_modified(|before| std::mem::replace(before, next) != next);
            if changed {
                tracing::info!(identity = self.identity, seat = ?next, "leader election");
            }
            let leads = next == Seat::Leads;
            let news = async {
                tokio::time::sleep(NUMBER_EVERY).await;
                let _ = published.changed().await;
            };
            tokio::select! {
                () = tokio::time::sleep(if leads { RENEW_EVERY } else { LOOK_EVERY }) => {}
                () = news, if leads => {}
            }
        }
    }

    /// One attempt, and what it makes of us.
    async fn round(&mut self, now: Seat) -> Seat {
        match tokio::time::timeout(REQUEST, self.attempt()).await {
            Ok(Ok(Attempt::Won { last })) => {
                self.renewed = Some(Instant::now());
                if let Some(last) = last {
                    self.pipeline.take_over(last.saturating_add(MARGIN)).await;
                }
                return Seat::Leads;
            }
            Ok(Ok(Attempt::Lost { leader })) => {
                self.renewed = None;
                return Seat::Follows { leader };
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    lease = self.name,
                    error = reason(&error),
                    "cannot renew the lease"
                );
            }
            Err(_) => tracing::warn!(lease = self.name, "the API server does not answer"),
        }
        let fresh = |renewed: Instant| renewed.elapsed() < DOUBT_AFTER;
        match now {
            Seat::Leads if !self.renewed.is_some_and(fresh) => Seat::Doubts,
            seat => seat,
        }
    }

    /// Takes or renews the lease.
    async fn attempt(&mut self) -> kube::Result<Attempt> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let new = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    annotations: Some(self.annotations(BTreeMap::new())),
                    ..ObjectMeta::default()
                },
                spec: Some(self.ours(&LeaseSpec::default())),
            };
            let created = self.api.create(&PostParams::default(), &new).await;
            return won(created, None);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let annotations = lease.metadata.annotations.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => Instant::now(),
        };
        self.seen = Some((spec.clone(), since));
        let is_ours = holder == self.identity;
        let free = holder.is_empty() || since.elapsed() > Duration::from_secs(LEASE_SECONDS.into());
        if !is_ours && !free {
            let address = annotations.get(ADDRESS);
            let leader = address.and_then(|address| address.parse().ok());
            return Ok(Attempt::Lost { leader });
        }
        let last = annotations
            .get(GENERATION)
            .and_then(|last| last.parse().ok());
        // Our own number is no news, unless we are a new process of the old name.
        let last = last.filter(|_| !is_ours || self.renewed.is_none());
        // Carries the resource version, so of two who try at once one fails.
        let next = Lease {
            spec: Some(self.ours(&spec)),
            metadata: ObjectMeta {
                annotations: Some(self.annotations(annotations)),
                ..lease.metadata
            },
        };
        let replaced = self
            .api
            .replace(&self.name, &PostParams::default(), &next)
            .await;
        won(replaced, last.filter(|last| *last < MAX_GENERATION))
    }

    fn annotations(&self, mut all: BTreeMap<String, String>) -> BTreeMap<String, String> {
        match self.address {
            Some(address) => all.insert(ADDRESS.to_owned(), address.to_string()),
            None => all.remove(ADDRESS),
        };
        // Never lower than it stood there: what we publish now may not be numbered above it yet.
        let before = all.get(GENERATION).and_then(|last| last.parse().ok());
        let now = self.pipeline.current().generation;
        let last = before.unwrap_or(0).max(now);
        all.insert(GENERATION.to_owned(), last.to_string());
        all
    }

    fn ours(&self, before: &LeaseSpec) -> LeaseSpec {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let renewing = before.holder_identity.as_ref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_SECONDS).ok(),
            acquire_time: if renewing {
                before.acquire_time.clone()
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(if renewing {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..before.clone()
        }
    }

    async fn release(&self) -> kube::Result<()> {
        let mut lease = self.api.get(&self.name).await?;
        lease.metadata.annotations =
            Some(self.annotations(lease.metadata.annotations.unwrap_or_default()));
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() == Some(&self.identity) {
            spec.holder_identity = None;
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await?;
        }
        Ok(())
    }
}

/// What a write means; that somebody else was faster is no error.
fn won<T>(written: kube::Result<T>, last: Option<u64>) -> kube::Result<Attempt> {
    match written {
        Ok(_) => Ok(Attempt::Won { last }),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::Lost { leader: None }),
        Err(error) => Err(error),
    }
}
