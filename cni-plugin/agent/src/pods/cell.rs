//! One pod as the agent remembers it: where it lives, what is held of it, and when it is tried again. The steps that
//! change it are in `drive`.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use weft_model::capture::CaptureSpec;
use weft_netns::{Netns, NetnsId};

use super::offer::Offer;
use super::plan::Stage;
use super::record::Attachment;
use crate::trouble::{Kind, Trouble};

/// A pod that is released keeps its connections at most this long.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(3600);

/// One pod.
pub(crate) struct PodCell {
    /// Kubernetes uid.
    pub(super) uid: String,
    /// Where it lives; set by ADD or by a scan, cleared by DEL.
    pub(super) home: RefCell<Option<Home>>,
    /// What we hold of it. This is the pod's lock.
    pub(super) held: Mutex<Option<Held>>,
    /// The namespace that DEL has ended: it may live on for a moment, but the pod is not enrolled in it again.
    pub(super) buried: Cell<Option<NetnsId>>,
    /// Shown to people and metrics.
    pub(super) shown: Cell<Option<Stage>>,
    /// Why it is not captured although it should be.
    pub(super) trouble: RefCell<Option<Trouble>>,
    /// When a failed step or a fruitless scan is tried again, and how often it failed in a row.
    pub(super) retry: Cell<(Option<Instant>, u32)>,
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

/// What we hold of a pod.
pub(super) struct Held {
    /// The namespace.
    pub(super) netns: Arc<Netns>,
    /// The listeners; none while they are only known to be somebody's.
    pub(super) offer: Option<Arc<Offer>>,
    /// How far.
    pub(super) stage: HeldStage,
}

/// How far we are with it, with what each stage remembers.
pub(super) enum HeldStage {
    /// See `plan::Stage`.
    Found,
    /// See `plan::Stage`.
    Offered,
    /// With the specification that its rules were made from; none: an earlier agent made them.
    Captured(Option<CaptureSpec>),
    /// Since when.
    Releasing(Instant),
}

impl PodCell {
    /// A pod of which nothing is known.
    pub(super) fn new(uid: &str) -> Self {
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

    /// There is nothing more to do for now.
    pub(super) fn settle(&self, held: Option<&Held>, trouble: Option<Trouble>) {
        self.shown.set(held.map(|held| held.stage(None)));
        self.retry.set((None, 0));
        *self.trouble.borrow_mut() = trouble;
    }

    /// A step failed.
    pub(super) fn failed(&self, held: Option<&Held>, trouble: &Trouble) {
        self.shown.set(held.map(|held| held.stage(None)));
        self.retry_later();
        let news = self.trouble.borrow().as_ref() != Some(trouble);
        if news {
            tracing::warn!(uid = self.uid, %trouble, "the pod cannot be captured or released; trying again");
        }
        *self.trouble.borrow_mut() = Some(trouble.clone());
    }

    /// Whether the pause after the last failure is over.
    pub(super) fn is_due(&self) -> bool {
        self.retry.get().0.is_none_or(|at| at <= Instant::now())
    }

    /// No namespace is its.
    pub(super) fn not_found(&self, why: String) {
        *self.trouble.borrow_mut() = Some(Trouble::new(Kind::NoNamespace, why));
        self.retry_later();
    }

    /// Doubles the pause: 1 s, 2 s, … 32 s.
    pub(super) fn retry_later(&self) {
        let (_, failures) = self.retry.get();
        let pause = Duration::from_secs(1 << failures.min(5));
        self.retry
            .set((Some(Instant::now() + pause), failures.saturating_add(1)));
    }
}

impl Held {
    /// As the plan sees it; `wanted` is what the tables want now.
    pub(super) fn stage(&self, wanted: Option<&CaptureSpec>) -> Stage {
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
