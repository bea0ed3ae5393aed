//! Leader election by a Lease: of several replicas one writes status, so that they do not write over each other. All of
//! them compile and serve tables, so a failover costs nodes nothing but a reconnect.
//!
//! A lease is judged by how long *we* have seen it unchanged, never by the time written in it, so clocks may differ.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::access::reason;

/// A lease that has not changed for so long is anybody's.
pub const LEASE_SECONDS: u32 = 15;
/// The holder renews this often ...
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// ... and stops leading when it could not for so long: before anybody else may begin.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// Others look this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(3);

/// One replica's candidacy.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// What the lease said and since when we have seen it so.
    seen: Option<(LeaseSpec, Instant)>,
    renewed: Option<Instant>,
}

impl Election {
    /// A candidate called `identity` for the lease `name`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Takes part until `shutdown`, then gives the lease back; `leading` tells whether this replica leads.
    pub async fn run(mut self, leading: watch::Sender<bool>, shutdown: CancellationToken) {
        loop {
            match tokio::time::timeout(REQUEST, self.attempt()).await {
                Ok(Ok(true)) => self.renewed = Some(Instant::now()),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.name,
                        error = reason(&error),
                        "cannot renew the lease"
                    );
                }
                Err(_) => tracing::warn!(lease = self.name, "the API server does not answer"),
            }
            let leads = self
                .renewed
                .is_some_and(|renewed| renewed.elapsed() < GIVE_UP_AFTER);
            let changed =
                leading.send_if_modified(|before| std::mem::replace(before, leads) != leads);
            if changed {
                tracing::info!(identity = self.identity, leads, "leader election");
            }
            let pause = if leads { RENEW_EVERY } else { LOOK_EVERY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => break,
            }
        }
        leading.send_replace(false);
        if self.renewed.is_some() {
            // Best effort: without it the next leader waits for the lease to run out.
            let _ = tokio::time::timeout(REQUEST, self.release()).await;
        }
    }

    /// Takes or renews the lease; whether it is ours now.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let new = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.ours(&LeaseSpec::default())),
            };
            return won(self.api.create(&PostParams::default(), &new).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => Instant::now(),
        };
        self.seen = Some((spec.clone(), since));
        let free = holder.is_empty() || since.elapsed() > Duration::from_secs(LEASE_SECONDS.into());
        if holder != self.identity && !free {
            return Ok(false);
        }
        // Carries the resource version, so of two who try at once one fails.
        let next = Lease {
            spec: Some(self.ours(&spec)),
            ..lease
        };
        won(self
            .api
            .replace(&self.name, &PostParams::default(), &next)
            .await)
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

/// Whether a write came through; that somebody else was faster is no error.
fn won<T>(written: kube::Result<T>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
