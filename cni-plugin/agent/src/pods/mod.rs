//! The pods of this node and what we hold of each. One cell per pod carries the pod's lock; nothing locks two cells, and
//! no lock is held while waiting for a proxy, so a DEL never waits for an ADD.
//!
//! Everything here runs on one thread; the blocking steps run on others (`kernel`).

pub(crate) mod kernel;
pub(crate) mod offer;
pub(crate) mod patrol;
pub(crate) mod plan;
pub(crate) mod reconcile;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod scan;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};
use weft_model::capture::CaptureSpec;
use weft_model::pod::{LocalPod, Mode};
use weft_netns::{Netns, NetnsId, ScanRoots};
use weft_wire::pod::Pod;

use crate::bound::{Bound, Tables};
use crate::handover::Handover;
use crate::trouble::{Kind, Trouble};
use kernel::Kernel;
use offer::Offer;
use plan::{Situation, Stage, Step, Wait, Wish};
use record::{Attachment, Record, Records};

/// A pod that is released keeps its connections at most this long.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(3600);

/// All pods.
pub(crate) struct Pods {
    /// What the tables say.
    pub(crate) tables: Tables,
    /// The proxies.
    pub(crate) handover: Rc<Handover>,
    /// The blocking half.
    pub(crate) kernel: Kernel,
    /// Told when a pod has taken a step, for whoever shows how the pods are.
    moved: Notify,
    records: Records,
    roots: ScanRoots,
    cells: RefCell<BTreeMap<String, Rc<PodCell>>>,
}

/// One pod.
pub(crate) struct PodCell {
    uid: String,
    /// Where it lives; set by ADD or by a scan, cleared by DEL.
    home: RefCell<Option<Home>>,
    /// What we hold of it. This is the pod's lock.
    held: Mutex<Option<Held>>,
    /// The namespace that DEL has ended: it may live on for a moment, but the pod is not enrolled in it again.
    buried: Cell<Option<NetnsId>>,
    /// Shown to people and metrics.
    shown: Cell<Option<Stage>>,
    /// Why it is not captured although it should be.
    trouble: RefCell<Option<Trouble>>,
    /// When a failed step or a fruitless scan is tried again, and how often it failed in a row.
    retry: Cell<(Option<Instant>, u32)>,
}

/// A pod's network namespace.
#[derive(Clone)]
pub(crate) struct Home {
    /// The namespace.
    pub(crate) netns: Arc<Netns>,
    /// The addresses by which it was proved to be the pod's.
    pub(crate) ips: Vec<IpAddr>,
    /// The runtime's name for it, when it came by ADD.
    pub(crate) attachment: Option<Attachment>,
}

struct Held {
    netns: Arc<Netns>,
    offer: Option<Arc<Offer>>,
    stage: HeldStage,
}

enum HeldStage {
    Found,
    Offered,
    /// With the specification that its rules were made from; none: an earlier agent made them.
    Captured(Option<CaptureSpec>),
    Releasing(Instant),
}

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
    /// No pods yet.
    pub(crate) fn new(
        tables: Tables,
        handover: Rc<Handover>,
        kernel: Kernel,
        records: Records,
        roots: ScanRoots,
    ) -> Self {
        Self {
            tables,
            handover,
            kernel,
            moved: Notify::new(),
            records,
            roots,
            cells: RefCell::default(),
        }
    }

    /// The cell of a pod, made if need be.
    pub(crate) fn cell(&self, uid: &str) -> Rc<PodCell> {
        let mut cells = self.cells.borrow_mut();
        let cell = cells
            .entry(uid.to_owned())
            .or_insert_with(|| Rc::new(PodCell::new(uid)));
        Rc::clone(cell)
    }

    /// The cell of a pod that we know.
    pub(crate) fn known(&self, uid: &str) -> Option<Rc<PodCell>> {
        self.cells.borrow().get(uid).map(Rc::clone)
    }

    /// The pod that lives in the namespace which the runtime calls so.
    pub(crate) fn by_attachment(&self, attachment: &Attachment) -> Option<Rc<PodCell>> {
        let is = |cell: &&Rc<PodCell>| {
            cell.home
                .borrow()
                .as_ref()
                .is_some_and(|home| home.attachment.as_ref() == Some(attachment))
        };
        self.cells.borrow().values().find(is).map(Rc::clone)
    }

    /// The pod that lives in a namespace, unless it is the one that asks.
    pub(crate) fn other_in(&self, netns: NetnsId, uid: &str) -> Option<Rc<PodCell>> {
        let lives_there = |cell: &&Rc<PodCell>| cell.uid != uid && cell.lives_in(netns);
        self.cells
            .borrow()
            .values()
            .find(lives_there)
            .map(Rc::clone)
    }

    /// Every cell.
    pub(crate) fn all(&self) -> Vec<Rc<PodCell>> {
        self.cells.borrow().values().map(Rc::clone).collect()
    }

    /// The tables as they are now.
    pub(crate) fn bound(&self) -> Arc<Bound> {
        Arc::clone(&self.tables.borrow())
    }

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
    fn situation(&self, cell: &PodCell, held: Option<&Held>) -> Situation {
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

    fn forget(&self, uid: &str) {
        if let Err(error) = self.records.remove(uid) {
            tracing::warn!(uid, %error, "a record cannot be removed");
        }
    }
}

impl PodCell {
    fn new(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            home: RefCell::default(),
            held: Mutex::default(),
            buried: Cell::default(),
            shown: Cell::default(),
            trouble: RefCell::default(),
            retry: Cell::default(),
        }
    }

    /// The uid.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// Where it lives.
    pub(crate) fn home(&self) -> Option<Home> {
        self.home.borrow().clone()
    }

    /// Whether it lives in this namespace.
    pub(crate) fn lives_in(&self, netns: NetnsId) -> bool {
        self.home
            .borrow()
            .as_ref()
            .is_some_and(|home| home.netns.id() == netns)
    }

    /// It lives here from now on: the newest namespace wins. Returns whether that is news.
    pub(crate) fn move_in(&self, home: Home) -> bool {
        let id = home.netns.id();
        let news = self
            .home
            .borrow()
            .as_ref()
            .is_none_or(|old| old.netns.id() != id);
        if self.buried.get() == Some(id) {
            self.buried.set(None);
        }
        self.retry.set((None, 0));
        *self.home.borrow_mut() = Some(home);
        news
    }

    /// It lives nowhere any more, if it lived in `netns`.
    pub(crate) fn move_out(&self, netns: NetnsId) {
        if self.lives_in(netns) {
            self.buried.set(Some(netns));
            *self.home.borrow_mut() = None;
        }
    }

    /// How far it is.
    pub(crate) fn shown(&self) -> Option<Stage> {
        self.shown.get()
    }

    /// What keeps it out.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    fn settle(&self, held: Option<&Held>, trouble: Option<Trouble>) {
        self.shown.set(held.map(|held| held.stage(None)));
        self.retry.set((None, 0));
        *self.trouble.borrow_mut() = trouble;
    }

    fn failed(&self, held: Option<&Held>, trouble: &Trouble) {
        self.shown.set(held.map(|held| held.stage(None)));
        self.retry_later();
        let news = self.trouble.borrow().as_ref() != Some(trouble);
        if news {
            tracing::warn!(uid = self.uid, %trouble, "the pod cannot be captured or released; trying again");
        }
        *self.trouble.borrow_mut() = Some(trouble.clone());
    }

    /// Doubles the pause: 1 s, 2 s, … 32 s.
    fn retry_later(&self) {
        let (_, failures) = self.retry.get();
        let pause = Duration::from_secs(1 << failures.min(5));
        self.retry
            .set((Some(Instant::now() + pause), failures.saturating_add(1)));
    }
}

impl Held {
    fn stage(&self, wanted: Option<&CaptureSpec>) -> Stage {
        match &self.stage {
            HeldStage::Found => Stage::Found,
            HeldStage::Offered => Stage::Offered,
            HeldStage::Captured(spec) => Stage::Captured {
                current: wanted.is_some() && spec.as_ref() == wanted,
            },
            HeldStage::Releasing(since) => Stage::Releasing {
                overdue: since.elapsed() >= DRAIN_DEADLINE,
            },
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
