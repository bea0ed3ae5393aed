//! What each proxy holds and says, without any socket: messages go in, and who must be told comes out.
//!
//! Several proxies overlap during an upgrade. The one whose process started last is the newest; when it is ready, all
//! older ones are drained, in whatever order they connected (after a restart of the agent that order means nothing).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::pods::plan::Verdict;

/// A proxy whose connection ended may come back with its pods and their connections; if it has not by then, it is gone.
pub(crate) const RETURN_GRACE: Duration = Duration::from_secs(10);

/// Names a connected proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerId(pub(crate) u64);

/// Age of a proxy: start of its process in clock ticks (0 when it cannot be told), then order of connection.
pub(crate) type Age = (u64, PeerId);

#[derive(Debug)]
struct Peer {
    age: Age,
    draining: bool,
    pods: BTreeMap<String, Serving>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Serving {
    Offered,
    Acked,
    Nacked(String),
    Releasing,
    Idle,
}

/// All connected proxies.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    /// Pods whose proxy may come back with their connections, and since when it is away.
    lost: BTreeMap<String, Instant>,
}

impl Peers {
    /// A proxy has named what it holds.
    pub(crate) fn joined(
        &mut self,
        id: PeerId,
        start: u64,
        held: impl IntoIterator<Item = String>,
    ) {
        let pods = held.into_iter().map(|uid| (uid, Serving::Acked)).collect();
        self.peers.insert(
            id,
            Peer {
                age: (start, id),
                draining: false,
                pods,
            },
        );
    }

    /// A proxy is gone.
    pub(crate) fn left(&mut self, id: PeerId, now: Instant) {
        let pods = self
            .peers
            .remove(&id)
            .map(|peer| peer.pods)
            .unwrap_or_default();
        let releasing = pods
            .into_iter()
            .filter(|(_, serving)| *serving == Serving::Releasing);
        self.lost.extend(releasing.map(|(uid, _)| (uid, now)));
    }

    /// A proxy may be on its way back with connections of this pod.
    pub(crate) fn expect_back(&mut self, uid: &str, now: Instant) {
        self.lost.insert(uid.to_owned(), now);
    }

    /// A pod is offered: the proxies to tell.
    pub(crate) fn offered(&mut self, uid: &str) -> Vec<PeerId> {
        self.lost.remove(uid);
        let takers = self.peers.iter_mut().filter(|(_, peer)| !peer.draining);
        takers
            .map(|(id, peer)| (*id, peer.pods.insert(uid.to_owned(), Serving::Offered)).0)
            .collect()
    }

    /// A pod is offered once more: the proxies that refused it.
    pub(crate) fn offered_again(&mut self, uid: &str) -> Vec<PeerId> {
        let refused = self.peers.iter_mut().filter_map(|(id, peer)| {
            let serving = peer
                .pods
                .get_mut(uid)
                .filter(|serving| matches!(serving, Serving::Nacked(_)))?;
            *serving = Serving::Offered;
            Some(*id)
        });
        refused.collect()
    }

    /// One proxy is offered one pod.
    pub(crate) fn offered_to(&mut self, id: PeerId, uid: &str) {
        self.set(id, uid, Serving::Offered);
    }

    /// A pod is gone: the proxies to tell.
    pub(crate) fn withdrawn(&mut self, uid: &str) -> Vec<PeerId> {
        self.lost.remove(uid);
        let holders = self
            .peers
            .iter_mut()
            .filter_map(|(id, peer)| peer.pods.remove(uid).map(|_| *id));
        holders.collect()
    }

    /// A pod is being released: the proxies to tell. One that never took it has no connections of it.
    pub(crate) fn releasing(&mut self, uid: &str, now: Instant) -> Vec<PeerId> {
        let holders = self.turn(
            uid,
            |s| !matches!(s, Serving::Nacked(_)),
            &Serving::Releasing,
        );
        if holders.is_empty() {
            self.lost.insert(uid.to_owned(), now);
        }
        holders
    }

    /// One proxy is told of a release that runs already.
    pub(crate) fn releasing_at(&mut self, id: PeerId, uid: &str) {
        self.lost.remove(uid);
        self.set(id, uid, Serving::Releasing);
    }

    /// A release is called off: the proxies to tell.
    pub(crate) fn kept(&mut self, uid: &str) -> Vec<PeerId> {
        self.lost.remove(uid);
        self.turn(
            uid,
            |s| matches!(s, Serving::Releasing | Serving::Idle),
            &Serving::Acked,
        )
    }

    /// A proxy acknowledged a pod.
    pub(crate) fn acked(&mut self, id: PeerId, uid: &str) {
        let waits = |serving: &Serving| matches!(serving, Serving::Offered | Serving::Nacked(_));
        self.answer(id, uid, waits, Serving::Acked);
    }

    /// A proxy cannot serve a pod.
    pub(crate) fn nacked(&mut self, id: PeerId, uid: &str, reason: String) {
        if let Some(serving) = self.serving_of(id, uid) {
            *serving = Serving::Nacked(reason);
        }
    }

    /// A proxy has no connection of a pod left; heard only while the pod is being released.
    pub(crate) fn idle(&mut self, id: PeerId, uid: &str) {
        self.answer(
            id,
            uid,
            |serving| *serving == Serving::Releasing,
            Serving::Idle,
        );
    }

    /// A proxy serves all it was given: the older ones, which are to drain.
    pub(crate) fn ready(&mut self, id: PeerId) -> Vec<PeerId> {
        let Some(age) = self
            .peers
            .get(&id)
            .filter(|peer| !peer.draining)
            .map(|peer| peer.age)
        else {
            return Vec::new();
        };
        let older = self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.age < age && !peer.draining);
        older
            .map(|(id, peer)| (*id, peer.draining = true).0)
            .collect()
    }

    /// What the proxies that are not on their way out say of a pod.
    pub(crate) fn verdict(&self, uid: &str) -> Verdict {
        let mut verdict = Verdict::Nobody;
        for serving in self
            .peers
            .values()
            .filter(|peer| !peer.draining)
            .map(|peer| peer.pods.get(uid))
        {
            match serving {
                Some(Serving::Acked | Serving::Releasing | Serving::Idle) => {
                    return Verdict::Served;
                }
                Some(Serving::Nacked(reason)) if verdict == Verdict::Nobody => {
                    verdict = Verdict::Refused(reason.clone())
                }
                Some(Serving::Nacked(_)) => {}
                Some(Serving::Offered) | None => verdict = Verdict::Pending,
            }
        }
        verdict
    }

    /// Whether no proxy has a connection of a pod that is being released.
    pub(crate) fn is_idle(&self, uid: &str, now: Instant) -> bool {
        let may_return = self
            .lost
            .get(uid)
            .is_some_and(|since| now.saturating_duration_since(*since) < RETURN_GRACE);
        !may_return
            && self
                .peers
                .values()
                .filter_map(|peer| peer.pods.get(uid))
                .all(|s| matches!(s, Serving::Idle | Serving::Nacked(_)))
    }

    /// Whether a proxy holds a pod by its own account.
    pub(crate) fn holds(&self, id: PeerId, uid: &str) -> bool {
        self.peers
            .get(&id)
            .is_some_and(|peer| peer.pods.contains_key(uid))
    }

    /// Proxies that take new pods.
    pub(crate) fn serving(&self) -> usize {
        self.peers.values().filter(|peer| !peer.draining).count()
    }

    fn answer(&mut self, id: PeerId, uid: &str, waits: impl Fn(&Serving) -> bool, to: Serving) {
        if let Some(serving) = self.serving_of(id, uid).filter(|serving| waits(serving)) {
            *serving = to;
        }
    }

    fn set(&mut self, id: PeerId, uid: &str, serving: Serving) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.pods.insert(uid.to_owned(), serving);
        }
    }

    /// Changes how those proxies serve a pod that serve it so; returns them.
    fn turn(&mut self, uid: &str, from: impl Fn(&Serving) -> bool, to: &Serving) -> Vec<PeerId> {
        let turned = self.peers.iter_mut().filter_map(|(id, peer)| {
            let serving = peer.pods.get_mut(uid).filter(|serving| from(serving))?;
            serving.clone_from(to);
            Some(*id)
        });
        turned.collect()
    }

    fn serving_of(&mut self, id: PeerId, uid: &str) -> Option<&mut Serving> {
        self.peers.get_mut(&id)?.pods.get_mut(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: PeerId = PeerId(7);
    const NEW: PeerId = PeerId(3);

    /// Two proxies; the newer one connected first, as after a restart of the agent.
    fn two() -> Peers {
        let mut peers = Peers::default();
        peers.joined(NEW, 200, []);
        peers.joined(OLD, 100, ["held".to_owned()]);
        peers
    }

    #[test]
    fn a_pod_is_served_when_one_proxy_has_acknowledged() {
        let mut peers = two();
        assert_eq!(peers.offered("u"), [NEW, OLD]);
        assert_eq!(peers.verdict("u"), Verdict::Pending);
        peers.nacked(OLD, "u", "full".into());
        assert_eq!(
            peers.verdict("u"),
            Verdict::Pending,
            "the other may still take it"
        );
        peers.acked(NEW, "u");
        assert_eq!(peers.verdict("u"), Verdict::Served);
        peers.left(NEW, Instant::now());
        assert_eq!(peers.verdict("u"), Verdict::Refused("full".into()));
        peers.left(OLD, Instant::now());
        assert_eq!(peers.verdict("u"), Verdict::Nobody);
    }

    #[test]
    fn the_newest_drains_the_older_ones_when_it_is_ready() {
        let mut peers = two();
        assert_eq!(
            peers.ready(OLD),
            [],
            "the old one is not newer than anybody"
        );
        assert_eq!(peers.ready(NEW), [OLD]);
        assert_eq!(peers.ready(NEW), [], "once");
        assert_eq!(peers.ready(OLD), []);
        assert_eq!(peers.serving(), 1);
        assert_eq!(
            peers.verdict("held"),
            Verdict::Pending,
            "a proxy that leaves serves nobody new"
        );
        assert_eq!(peers.offered("u"), [NEW]);
        assert_eq!(
            peers.withdrawn("held"),
            [OLD],
            "but it hears of the end of what it holds"
        );
    }

    #[test]
    fn a_release_ends_when_every_holder_is_idle() {
        let mut peers = two();
        let now = Instant::now();
        peers.offered("u");
        peers.acked(NEW, "u");
        peers.idle(NEW, "u");
        assert!(
            !peers.is_idle("u", now),
            "idle before the release means nothing"
        );
        assert_eq!(peers.releasing("u", now), [NEW, OLD]);
        peers.idle(NEW, "u");
        assert!(!peers.is_idle("u", now));
        peers.idle(OLD, "u");
        assert!(peers.is_idle("u", now));
        assert_eq!(peers.kept("u"), [NEW, OLD], "called off");
        assert!(!peers.is_idle("u", now));
    }

    #[test]
    fn a_proxy_that_refused_the_pod_holds_no_release_up() {
        let mut peers = two();
        let now = Instant::now();
        peers.offered("u");
        peers.acked(NEW, "u");
        peers.nacked(OLD, "u", "full".into());
        assert_eq!(peers.releasing("u", now), [NEW]);
        peers.idle(NEW, "u");
        assert!(peers.is_idle("u", now));
        assert_eq!(peers.offered_again("u"), [OLD]);
    }

    #[test]
    fn a_proxy_that_went_away_has_a_moment_to_come_back() {
        let mut peers = two();
        let now = Instant::now();
        peers.releasing("held", now);
        peers.left(OLD, now);
        assert!(!peers.is_idle("held", now));
        assert!(
            peers.is_idle("held", now + RETURN_GRACE),
            "it was killed: its connections are gone too"
        );
        peers.joined(OLD, 100, ["held".to_owned()]);
        peers.releasing_at(OLD, "held");
        assert!(!peers.is_idle("held", now + RETURN_GRACE));
    }

    #[test]
    fn messages_about_unknown_pods_and_proxies_change_nothing() {
        let mut peers = two();
        peers.acked(PeerId(99), "held");
        peers.acked(NEW, "held");
        peers.nacked(NEW, "nothing", String::new());
        assert_eq!(peers.ready(PeerId(99)), []);
        assert!(!peers.holds(NEW, "held") && peers.holds(OLD, "held"));
    }
}
