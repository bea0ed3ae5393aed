//! The loop that brings every pod to what the tables want: it finds pods that already run, notices those that are gone,
//! and drives whoever is not at rest. It looks at everything anew each time, so a missed event costs time, never truth.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weft_model::pod::Mode;
use weft_netns::{Netns, find_by_ip};

use super::kernel::blocking;
use super::plan::{self, Stage, Step, Wait};
use super::{Home, PodCell, Pods, scan};

/// How often everything is looked at while some pod is not at rest.
const BUSY_PERIOD: Duration = Duration::from_secs(1);
/// How often namespaces are checked for being alive when nothing happens.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);
/// Steps of pods within this time are looked at together.
const GATHER: Duration = Duration::from_millis(20);
/// Pods that are enrolled or released at once; more would only starve the pods that are being started.
const PARALLEL: usize = 8;

/// Runs until `shutdown`; `report` is called after each pass.
pub(crate) async fn run(pods: Rc<Pods>, report: impl Fn(), shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(PARALLEL));
    let (mut tables, mut proxies) = (pods.tables.clone(), pods.handover.changed());
    let mut swept = Instant::now();
    loop {
        tables.mark_unchanged();
        proxies.mark_unchanged();
        if pods.has_strangers() || swept.elapsed() >= SWEEP_PERIOD {
            swept = Instant::now();
            pods.bury_the_dead().await;
        }
        pods.find_running().await;
        pods.start_driving(&permits);
        pods.prune();
        report();
        let pause = if pods.is_busy() {
            BUSY_PERIOD
        } else {
            SWEEP_PERIOD
        };
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            changed = proxies.changed() => if changed.is_err() { return },
            () = pods.moved.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

impl Pods {
    /// Whether some pod lives here that the tables no longer name: probably it has ended.
    fn has_strangers(&self) -> bool {
        let bound = self.tables.borrow();
        self.all()
            .iter()
            .any(|cell| cell.home.borrow().is_some() && !bound.pods.contains_key(&cell.uid))
    }

    /// Pods whose namespace no name and no process leads to any more live nowhere.
    pub(crate) async fn bury_the_dead(&self) {
        let roots = self.roots.clone();
        let Ok(living) = blocking(move || scan::living(&roots)).await else {
            return;
        };
        for cell in self.all() {
            let home = cell.home.borrow().as_ref().map(|home| home.netns.id());
            if let Some(id) = home.filter(|id| !living.contains_key(id)) {
                cell.move_out(id);
            }
        }
    }

    /// Finds the namespaces of pods of the mesh that run already, by their addresses.
    async fn find_running(&self) {
        let wanted: Vec<(Rc<PodCell>, Vec<IpAddr>)> = {
            let bound = self.tables.borrow();
            let enabled = bound
                .pods
                .iter()
                .filter(|(_, pod)| pod.mode == Mode::Enabled && !pod.workload.ips.is_empty());
            let missing = enabled.map(|(uid, pod)| (self.cell(uid), pod.workload.ips.clone()));
            missing
                .filter(|(cell, _)| cell.home.borrow().is_none() && cell.is_due())
                .collect()
        };
        for (cell, ips) in wanted {
            let (roots, asked) = (self.roots.clone(), ips.clone());
            let Ok(found) = blocking(move || find(&asked, &roots)).await else {
                return;
            };
            // ADD may have come in between; it knows better.
            if cell.home.borrow().is_some() {
                continue;
            }
            match found {
                Ok(Some(netns)) if cell.buried.get() != Some(netns.id()) => {
                    // The tables may still give an address to a pod that has ended, when another has it by now.
                    if let Some(other) = self.other_in(netns.id(), &cell.uid) {
                        cell.not_found(format!(
                            "{} belongs to the pod with the uid {}",
                            list(&ips),
                            other.uid
                        ));
                        continue;
                    }
                    let netns = Arc::new(netns);
                    cell.move_in(Home {
                        netns,
                        ips,
                        attachment: None,
                    });
                }
                Ok(_) => cell.not_found(format!(
                    "no network namespace on this node owns {}",
                    list(&ips)
                )),
                Err(error) => cell.not_found(error.to_string()),
            }
        }
    }

    /// Drives every pod that has a step to do, a few at a time, each on its own.
    fn start_driving(self: &Rc<Self>, permits: &Arc<Semaphore>) {
        for cell in self.all() {
            // Whoever holds the lock looks again by himself before he lets go.
            let Ok(held) = cell.held.try_lock() else {
                continue;
            };
            let step = plan::next(&self.situation(&cell, held.as_ref()));
            drop(held);
            if matches!(step, Step::Wait(Wait::Acceptance(_))) && cell.is_due() {
                // It may have been full for a while only.
                cell.retry_later();
                self.handover.offer_again(&cell.uid);
                continue;
            }
            if step == Step::Rest && cell.trouble.borrow().is_none() || !cell.is_due() {
                continue;
            }
            let (pods, cell, permits) = (Rc::clone(self), Rc::clone(&cell), Arc::clone(permits));
            tokio::task::spawn_local(async move {
                let _permit = permits.acquire_owned().await;
                pods.drive(&cell).await;
            });
        }
    }

    /// Forgets pods that are neither here nor in the tables.
    fn prune(&self) {
        let bound = self.tables.borrow();
        self.cells.borrow_mut().retain(|uid, cell| {
            let empty = cell.home.borrow().is_none()
                && cell.held.try_lock().is_ok_and(|held| held.is_none());
            bound.pods.contains_key(uid) || !empty
        });
    }

    /// Whether some pod waits for time to pass.
    fn is_busy(&self) -> bool {
        let waits = |cell: &Rc<PodCell>| {
            cell.trouble.borrow().is_some()
                || cell.retry.get().0.is_some()
                || matches!(cell.shown.get(), Some(Stage::Releasing { .. }))
        };
        self.has_strangers() || self.all().iter().any(waits)
    }
}

/// The namespace that owns all the addresses; one that owns some of them is another pod's.
fn find(ips: &[IpAddr], roots: &weft_netns::ScanRoots) -> std::io::Result<Option<Netns>> {
    let Some(first) = ips.first() else {
        return Ok(None);
    };
    let Some(netns) = find_by_ip(*first, roots)? else {
        return Ok(None);
    };
    let owned = weft_netns::addresses(&netns)?;
    Ok(ips.iter().all(|ip| owned.contains(ip)).then_some(netns))
}

fn list(ips: &[IpAddr]) -> String {
    ips.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" and ")
}
