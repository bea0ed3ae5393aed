//! What an earlier agent left: the records say which namespaces it touched, the proxies bring the sockets back. Rules of
//! a namespace that lives on are taken up; records of one that is gone are removed.

use std::path::Path;
use std::sync::Arc;

use weft_netns::{Netns, NetnsId};

use super::cell::{Held, HeldStage};
use super::kernel::blocking;
use super::offer::Offer;
use super::record::Record;
use super::{Home, Pods, scan};
use crate::trouble::{Kind, Trouble};

impl Pods {
    /// Reads the records. Call once, before anything is driven and before proxies are served.
    pub(crate) async fn recover(&self) -> Result<(), Trouble> {
        let system = |error: std::io::Error| {
            Trouble::new(
                Kind::System,
                format!("the records of pods cannot be read: {error}"),
            )
        };
        let records = self.records.all().map_err(system)?;
        let roots = self.roots.clone();
        let living = blocking(move || scan::living(&roots)).await?;
        let mut found = 0usize;
        for record in records {
            match living
                .get(&record.netns())
                .and_then(|path| open(path, record.netns()))
            {
                Some(netns) => {
                    self.take_up(record, netns).await;
                    found += 1;
                }
                None => self.forget(&record.uid),
            }
        }
        if found > 0 {
            tracing::info!(
                pods = found,
                "an earlier agent captured pods that still run"
            );
        }
        Ok(())
    }

    async fn take_up(&self, record: Record, netns: Netns) {
        let cell = self.cell(&record.uid);
        let netns = Arc::new(netns);
        let home = Home {
            netns: Arc::clone(&netns),
            ips: record.ips,
            attachment: record.attachment,
        };
        cell.move_in(home);
        self.handover.expect_back(&record.uid);
        *cell.held.lock().await = Some(Held {
            netns,
            offer: None,
            stage: HeldStage::Found,
        });
    }

    /// Takes over what a proxy holds, as far as it lives: the sockets are never bound again while a proxy holds them.
    pub(crate) async fn adopt(&self, offers: Vec<Offer>) {
        if offers.is_empty() {
            return;
        }
        let roots = self.roots.clone();
        let living = blocking(move || scan::living(&roots))
            .await
            .unwrap_or_default();
        for offer in offers {
            if living.contains_key(&offer.netns.id()) {
                self.adopt_one(offer).await;
            }
        }
    }

    async fn adopt_one(&self, offer: Offer) {
        let cell = self.cell(&offer.pod.uid);
        // Before the lock: a cell that lives nowhere may be forgotten while we wait.
        if cell.home().is_none() {
            let (netns, ips) = (Arc::clone(&offer.netns), offer.pod.ips.clone());
            cell.move_in(Home {
                netns,
                ips,
                attachment: None,
            });
        }
        let mut held = cell.held.lock().await;
        // Our own sockets are the ones that it got from us.
        if held.as_ref().is_some_and(|held| held.offer.is_some()) {
            return;
        }
        let pod = format!("{}/{}", offer.pod.namespace, offer.pod.name);
        tracing::info!(pod, uid = cell.uid, "adopted from a proxy");
        let offer = Arc::new(offer);
        let netns = Arc::clone(&offer.netns);
        self.handover.adopt(Arc::clone(&offer));
        let now = Held {
            netns,
            offer: Some(offer),
            stage: HeldStage::Captured(None),
        };
        cell.settle(Some(&now), None);
        *held = Some(now);
    }
}

fn open(path: &Path, id: NetnsId) -> Option<Netns> {
    Netns::open(path).ok().filter(|netns| netns.id() == id)
}
