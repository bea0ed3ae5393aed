//! The pods of this node and what we hold of each. One cell per pod carries the pod's lock; nothing locks two cells, and
//! no lock is held while waiting for a proxy, so a DEL never waits for an ADD.
//!
//! Everything here runs on one thread; the blocking steps run on others (`kernel`).

pub(crate) mod cell;
pub(crate) mod drive;
pub(crate) mod kernel;
pub(crate) mod offer;
pub(crate) mod patrol;
pub(crate) mod plan;
pub(crate) mod reconcile;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod scan;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use weft_netns::{NetnsId, ScanRoots};
use weft_wire::cni::Key;

use crate::bound::{Bound, Tables};
use crate::handover::Handover;
use kernel::Kernel;
use record::Records;

pub(crate) use cell::{Home, PodCell};
pub(crate) use drive::Settled;

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
    pub(crate) fn by_attachment(&self, key: &Key) -> Option<Rc<PodCell>> {
        let is = |cell: &&Rc<PodCell>| {
            cell.home
                .borrow()
                .as_ref()
                .and_then(|home| home.attachment.as_ref())
                .is_some_and(|attachment| attachment.is(key))
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

    /// Whether nothing of ours is in any pod.
    pub(crate) fn holds_nothing(&self) -> bool {
        // A pod that is being worked on is not done.
        let nothing = |cell: &Rc<PodCell>| cell.held.try_lock().is_ok_and(|held| held.is_none());
        self.cells.borrow().values().all(nothing)
    }

    /// The tables as they are now.
    pub(crate) fn bound(&self) -> Arc<Bound> {
        Arc::clone(&self.tables.borrow())
    }
}
