//! The agent's side of `agent.sock`: which pods are offered, which proxies there are, and the queue of messages to each.
//! A proxy may come, go, be killed or be replaced at any time; the offers stay, because the sockets are ours.

pub(crate) mod peers;
pub(crate) mod serve;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use weft_wire::pod::ToProxy;

use crate::pods::offer::Offer;
use crate::pods::plan::Verdict;
use peers::{PeerId, Peers};

/// A message on its way to a proxy, with the offer whose descriptors go along.
pub(crate) type Parcel = (ToProxy, Option<Arc<Offer>>);

/// What is offered to whom.
pub(crate) struct Handover {
    peers: RefCell<Peers>,
    queues: RefCell<BTreeMap<PeerId, mpsc::UnboundedSender<Parcel>>>,
    offers: RefCell<BTreeMap<String, Offered>>,
    changed: watch::Sender<u64>,
}

struct Offered {
    offer: Arc<Offer>,
    releasing: bool,
}

impl Handover {
    /// No proxies, no offers.
    pub(crate) fn new() -> Self {
        Self {
            peers: RefCell::default(),
            queues: RefCell::default(),
            offers: RefCell::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Changes whenever a proxy says something that a pod may wait for.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Offers a pod to every proxy that is not on its way out.
    pub(crate) fn offer(&self, offer: Arc<Offer>) {
        let uid = offer.pod.uid.clone();
        let message = ToProxy::Pod(offer.pod.clone());
        for id in self.peers.borrow_mut().offered(&uid) {
            self.send(id, (message.clone(), Some(Arc::clone(&offer))));
        }
        self.offers.borrow_mut().insert(
            uid,
            Offered {
                offer,
                releasing: false,
            },
        );
    }

    /// Offers a pod once more to those who refused it.
    pub(crate) fn offer_again(&self, uid: &str) {
        let offers = self.offers.borrow();
        let Some(Offered { offer, .. }) = offers.get(uid) else {
            return;
        };
        for id in self.peers.borrow_mut().offered_again(uid) {
            self.send(
                id,
                (ToProxy::Pod(offer.pod.clone()), Some(Arc::clone(offer))),
            );
        }
    }

    /// Takes up an offer that an earlier agent made; the proxies that hold it say so themselves.
    pub(crate) fn adopt(&self, offer: Arc<Offer>) {
        self.offers.borrow_mut().insert(
            offer.pod.uid.clone(),
            Offered {
                offer,
                releasing: false,
            },
        );
    }

    /// An earlier agent captured this pod: a proxy may still serve it, and come back to say so.
    pub(crate) fn expect_back(&self, uid: &str) {
        self.peers.borrow_mut().expect_back(uid, Instant::now());
    }

    /// The pod is gone: every proxy closes its descriptors.
    pub(crate) fn withdraw(&self, uid: &str) {
        self.offers.borrow_mut().remove(uid);
        for id in self.peers.borrow_mut().withdrawn(uid) {
            self.send(
                id,
                (
                    ToProxy::Del {
                        uid: uid.to_owned(),
                    },
                    None,
                ),
            );
        }
    }

    /// The pod's rules no longer lead to the proxy: whoever serves it says when its last connection has ended.
    pub(crate) fn releasing(&self, uid: &str) {
        self.mark(uid, true);
        for id in self.peers.borrow_mut().releasing(uid, Instant::now()) {
            self.send(
                id,
                (
                    ToProxy::Releasing {
                        uid: uid.to_owned(),
                    },
                    None,
                ),
            );
        }
    }

    /// A release was called off.
    pub(crate) fn keep(&self, uid: &str) {
        self.mark(uid, false);
        for id in self.peers.borrow_mut().kept(uid) {
            self.send(
                id,
                (
                    ToProxy::Keep {
                        uid: uid.to_owned(),
                    },
                    None,
                ),
            );
        }
    }

    /// What the proxies say of a pod.
    pub(crate) fn verdict(&self, uid: &str) -> Verdict {
        self.peers.borrow().verdict(uid)
    }

    /// Whether no proxy has a connection of the pod left.
    pub(crate) fn is_idle(&self, uid: &str) -> bool {
        self.peers.borrow().is_idle(uid, Instant::now())
    }

    /// Proxies that take new pods.
    pub(crate) fn serving(&self) -> usize {
        self.peers.borrow().serving()
    }

    fn mark(&self, uid: &str, releasing: bool) {
        if let Some(offered) = self.offers.borrow_mut().get_mut(uid) {
            offered.releasing = releasing;
        }
    }

    fn send(&self, id: PeerId, parcel: Parcel) {
        if let Some(queue) = self.queues.borrow().get(&id) {
            // A queue that is closed belongs to a proxy that has just gone; its end is noticed where it is read.
            let _ = queue.send(parcel);
        }
    }

    fn tell(&self) {
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
    }
}
