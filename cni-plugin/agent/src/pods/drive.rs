//! The steps of the plan, done one after the other under the pod's lock. A step that fails leaves what was reached before
//! it; whoever drove the pod learns why, and the reconciliation tries again later.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use weft_model::pod::{LocalPod, Mode};
use weft_wire::pod::Pod;

use super::Pods;
use super::cell::{Held, HeldStage, Home, PodCell};
use super::offer::Offer;
use super::plan::{self, Situation, Step, Wait, Wish};
use super::record::Record;
use crate::trouble::{Kind, Trouble};

/// How a drive ended.
#[derive(Debug)]
pub(crate) enum Settled {
    /// It is as it should be; whether it is captured.
    Rest {
        /// Captured, or not in the mesh.
        captured: bool,
    },
    /// A proxy must speak first.
    Waiting(Wait),
    /// A step failed; what was reached so far stays.
    Failed(Trouble),
}

impl Pods {
    /// Does all that can be done for a pod now, one step after the other. Steps of one pod never overlap.
    pub(crate) async fn drive(&self, cell: &PodCell) -> Settled {
        let mut held = cell.held.lock().await;
        loop {
            let step = plan::next(&self.situation(cell, held.as_ref()));
            let done = match step {
                Step::Rest => {
                    cell.settle(held.as_ref(), None);
                    let captured = matches!(
                        held.as_ref().map(|h| &h.stage),
                        Some(HeldStage::Captured(_))
                    );
                    return Settled::Rest { captured };
                }
                Step::Wait(wait) => {
                    cell.settle(held.as_ref(), wait.trouble());
                    return Settled::Waiting(wait);
                }
                Step::Open => self.open(cell, &mut held).await,
                Step::Capture => self.capture(cell, &mut held).await,
                Step::Release => self.release(cell, &mut held).await,
                Step::Remove => self.remove(cell, &mut held).await,
            };
            self.moved.notify_one();
            if let Err(trouble) = done {
                cell.failed(held.as_ref(), &trouble);
                return Settled::Failed(trouble);
            }
        }
    }

    /// What one look shows; the caller holds the pod's lock.
    pub(super) fn situation(&self, cell: &PodCell, held: Option<&Held>) -> Situation {
        let bound = self.tables.borrow();
        let pod = bound.pods.get(&cell.uid);
        let wish = match pod.map(|pod| &pod.mode) {
            None => Wish::Unknown,
            Some(Mode::Enabled) => Wish::Capture,
            Some(Mode::Disabled(_)) => Wish::Leave,
        };
        Situation {
            wish,
            home: cell.home.borrow().as_ref().map(|home| home.netns.id()),
            held: held.map(|held| (held.netns.id(), held.stage(pod.map(|pod| &pod.capture)))),
            verdict: self.handover.verdict(&cell.uid),
            idle: self.handover.is_idle(&cell.uid),
        }
    }

    async fn open(&self, cell: &PodCell, held: &mut Option<Held>) -> Result<(), Trouble> {
        let (Some(home), Some(pod)) = (
            cell.home.borrow().clone(),
            self.bound().pods.get(&cell.uid).cloned(),
        ) else {
            return Ok(());
        };
        self.remember(&cell.uid, &pod, &home)?;
        let opened = self.kernel.open(Arc::clone(&home.netns)).await;
        let (outbound, inbound) = opened.inspect_err(|_| {
            // Nothing was touched, unless an earlier agent did.
            if held.is_none() {
                self.forget(&cell.uid);
            }
        })?;
        let pod = wire_pod(&cell.uid, &pod, home.ips);
        let offer = Arc::new(Offer {
            pod,
            netns: Arc::clone(&home.netns),
            outbound,
            inbound,
        });
        self.handover.offer(Arc::clone(&offer));
        *held = Some(Held {
            netns: home.netns,
            offer: Some(offer),
            stage: HeldStage::Offered,
        });
        Ok(())
    }

    async fn capture(&self, cell: &PodCell, held: &mut Option<Held>) -> Result<(), Trouble> {
        let (Some(now), Some(pod)) = (held.as_mut(), self.bound().pods.get(&cell.uid).cloned())
        else {
            return Ok(());
        };
        self.kernel
            .capture(Arc::clone(&now.netns), pod.capture.clone())
            .await?;
        if matches!(now.stage, HeldStage::Releasing(_)) {
            self.handover.keep(&cell.uid);
        }
        if !matches!(now.stage, HeldStage::Captured(_)) {
            tracing::info!(pod = %pod.workload.pod, uid = cell.uid, "captured");
        }
        now.stage = HeldStage::Captured(Some(pod.capture.clone()));
        Ok(())
    }

    async fn release(&self, cell: &PodCell, held: &mut Option<Held>) -> Result<(), Trouble> {
        let Some(now) = held.as_mut() else {
            return Ok(());
        };
        self.kernel.releasing(Arc::clone(&now.netns)).await?;
        now.stage = HeldStage::Releasing(Instant::now());
        self.handover.releasing(&cell.uid);
        tracing::info!(uid = cell.uid, "releasing: new connections go directly");
        Ok(())
    }

    async fn remove(&self, cell: &PodCell, held: &mut Option<Held>) -> Result<(), Trouble> {
        let Some(now) = held.as_ref() else {
            return Ok(());
        };
        let released = self.kernel.release(Arc::clone(&now.netns)).await;
        // Without rules to remove, a pod that lives on would be left with rules that lead nowhere: try again then. One
        // that has gone takes its rules with it.
        let lives = cell.lives_in(now.netns.id());
        if let Err(trouble) = released {
            if lives {
                return Err(trouble);
            }
            tracing::debug!(uid = cell.uid, %trouble, "rules of a pod that is gone");
        }
        self.handover.withdraw(&cell.uid);
        *held = None;
        self.forget(&cell.uid);
        tracing::info!(uid = cell.uid, "released");
        Ok(())
    }

    /// Lets the rules of a captured pod be made again, should somebody have changed them.
    pub(crate) async fn doubt(&self, cell: &PodCell) {
        if let Some(Held {
            stage: HeldStage::Captured(spec),
            ..
        }) = cell.held.lock().await.as_mut()
        {
            *spec = None;
        }
    }

    fn remember(&self, uid: &str, pod: &LocalPod, home: &Home) -> Result<(), Trouble> {
        let id = home.netns.id();
        let record = Record {
            uid: uid.to_owned(),
            namespace: pod.workload.pod.namespace.clone(),
            name: pod.workload.pod.name.clone(),
            ips: home.ips.clone(),
            dev: id.dev,
            ino: id.ino,
            attachment: home.attachment.clone(),
        };
        self.records.write(&record).map_err(|error| {
            Trouble::new(
                Kind::System,
                format!("the pod's record cannot be written: {error}"),
            )
        })
    }

    /// Nothing of ours is in the pod's namespace any more.
    pub(super) fn forget(&self, uid: &str) {
        if let Err(error) = self.records.remove(uid) {
            tracing::warn!(uid, %error, "a record cannot be removed");
        }
    }
}

impl Wait {
    /// What a pod that waits so is missing; a release that waits misses nothing.
    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Idle | Self::Tables => None,
            Self::Proxy => Some(Trouble::new(
                Kind::NoProxy,
                "no proxy is connected to the agent",
            )),
            Self::Ack => Some(Trouble::new(
                Kind::NoProxy,
                "the proxy has not acknowledged the pod yet",
            )),
            Self::Acceptance(reason) => Some(Trouble::new(
                Kind::ProxyRefused,
                format!("the proxy refuses the pod: {reason}"),
            )),
        }
    }
}

fn wire_pod(uid: &str, pod: &LocalPod, ips: Vec<IpAddr>) -> Pod {
    let id = &pod.workload.pod;
    Pod {
        uid: uid.to_owned(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        ips,
    }
}
