//! What the proxy does with the agent's words: events in, actions out, no sockets.
//!
//! Guarantees: a pod is acknowledged only when its listeners are polled *and* a table of generation 1 or later is held;
//! `Ready` is said once per agent connection, after `SnapshotEnd` and after every pod of the snapshot was acknowledged or
//! refused; pods that the agent no longer names are stopped when the snapshot ends.

use std::collections::{BTreeMap, BTreeSet};

use weft_wire::pod::ToAgent;

/// Something happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A connection to the agent stands; what we hold has been announced.
    Connected,
    /// The agent sent a pod with its sockets.
    Pod(&'a str),
    /// The agent lets us keep a pod.
    Keep(&'a str),
    /// The agent takes a pod away.
    Del(&'a str),
    /// The agent has named all pods.
    SnapshotEnd,
    /// The listeners of a pod are polled.
    Serving(&'a str),
    /// The sockets of a pod cannot be used.
    Refused(&'a str, String),
    /// A table of generation 1 or later is held.
    TablesReady,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Say this to the agent.
    Send(ToAgent),
    /// Begin to serve the pod whose sockets came with the event.
    Serve(String),
    /// Close everything of a pod.
    Stop(String),
}

/// How far a pod has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Sockets are on their way to a worker.
    Starting,
    /// Polled, not acknowledged for want of a table.
    Serving,
    /// Acknowledged (or refused) on this agent connection.
    Settled,
}

/// The pods and what the agent has been told.
#[derive(Default)]
pub(crate) struct State {
    pods: BTreeMap<String, Phase>,
    /// Pods not yet named by the agent since it connected.
    unnamed: BTreeSet<String>,
    snapshot_ended: bool,
    ready_sent: bool,
    tables: bool,
}

impl State {
    /// Takes an event; returns what follows from it, in order.
    pub(crate) fn handle(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Connected => self.connected(),
            Event::Pod(uid) => {
                self.unnamed.remove(uid);
                if self.pods.insert(uid.to_owned(), Phase::Starting).is_some() {
                    actions.push(Action::Stop(uid.to_owned()));
                }
                actions.push(Action::Serve(uid.to_owned()));
            }
            Event::Keep(uid) => {
                self.unnamed.remove(uid);
            }
            Event::Del(uid) => self.stop(uid, &mut actions),
            Event::SnapshotEnd => {
                self.snapshot_ended = true;
                for uid in std::mem::take(&mut self.unnamed) {
                    self.stop(&uid, &mut actions);
                }
            }
            Event::Serving(uid) => self.advance(uid, Phase::Starting, Phase::Serving),
            Event::Refused(uid, reason) => {
                self.pods.remove(uid);
                actions.push(Action::Send(ToAgent::Nack {
                    uid: uid.to_owned(),
                    reason,
                }));
            }
            Event::TablesReady => self.tables = true,
        }
        self.settle(&mut actions);
        actions
    }

    /// Pods that are held, for `Hello`.
    pub(crate) fn held(&self) -> impl Iterator<Item = &String> {
        self.pods.keys()
    }

    fn connected(&mut self) {
        self.unnamed = self.pods.keys().cloned().collect();
        self.snapshot_ended = false;
        self.ready_sent = false;
        for phase in self
            .pods
            .values_mut()
            .filter(|phase| **phase == Phase::Settled)
        {
            *phase = Phase::Serving;
        }
    }

    fn stop(&mut self, uid: &str, actions: &mut Vec<Action>) {
        self.unnamed.remove(uid);
        if self.pods.remove(uid).is_some() {
            actions.push(Action::Stop(uid.to_owned()));
        }
    }

    fn advance(&mut self, uid: &str, from: Phase, to: Phase) {
        if let Some(phase) = self.pods.get_mut(uid).filter(|phase| **phase == from) {
            *phase = to;
        }
    }

    /// Acknowledges what can be acknowledged, and says `Ready` when nothing is open.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        if !self.tables {
            return;
        }
        for (uid, phase) in self
            .pods
            .iter_mut()
            .filter(|(_, phase)| **phase == Phase::Serving)
        {
            *phase = Phase::Settled;
            actions.push(Action::Send(ToAgent::Ack { uid: uid.clone() }));
        }
        let open = self.pods.values().any(|phase| *phase != Phase::Settled);
        if self.snapshot_ended && !self.ready_sent && !open {
            self.ready_sent = true;
            actions.push(Action::Send(ToAgent::Ready));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(uid: &str) -> Action {
        Action::Send(ToAgent::Ack {
            uid: uid.to_owned(),
        })
    }

    #[test]
    fn a_pod_is_acknowledged_only_with_listeners_and_a_table() {
        let mut state = State::default();
        state.handle(Event::Connected);
        assert_eq!(state.handle(Event::Pod("a")), [Action::Serve("a".into())]);
        assert_eq!(state.handle(Event::Serving("a")), []);
        assert_eq!(state.handle(Event::TablesReady), [ack("a")]);
        assert_eq!(
            state.handle(Event::SnapshotEnd),
            [Action::Send(ToAgent::Ready)]
        );
    }

    #[test]
    fn ready_waits_for_every_pod_of_the_snapshot() {
        let mut state = State::default();
        state.handle(Event::TablesReady);
        state.handle(Event::Connected);
        state.handle(Event::Pod("a"));
        assert_eq!(state.handle(Event::SnapshotEnd), []);
        assert_eq!(
            state.handle(Event::Serving("a")),
            [ack("a"), Action::Send(ToAgent::Ready)]
        );
        state.handle(Event::Pod("b"));
        assert_eq!(state.handle(Event::Serving("b")), [ack("b")]);
    }

    #[test]
    fn a_pod_that_vanished_while_the_agent_was_away_is_stopped() {
        let mut state = State::default();
        state.handle(Event::TablesReady);
        state.handle(Event::Connected);
        state.handle(Event::Pod("a"));
        state.handle(Event::Pod("b"));
        state.handle(Event::Serving("a"));
        state.handle(Event::Serving("b"));
        assert_eq!(state.handle(Event::Connected), [ack("a"), ack("b")]);
        state.handle(Event::Keep("a"));
        let actions = state.handle(Event::SnapshotEnd);
        assert_eq!(
            actions,
            [Action::Stop("b".into()), Action::Send(ToAgent::Ready)]
        );
    }

    #[test]
    fn a_pod_sent_twice_replaces_the_first() {
        let mut state = State::default();
        state.handle(Event::Connected);
        state.handle(Event::Pod("a"));
        assert_eq!(
            state.handle(Event::Pod("a")),
            [Action::Stop("a".into()), Action::Serve("a".into())]
        );
    }

    #[test]
    fn a_refused_pod_does_not_hold_up_readiness() {
        let mut state = State::default();
        state.handle(Event::TablesReady);
        state.handle(Event::Connected);
        state.handle(Event::Pod("a"));
        state.handle(Event::SnapshotEnd);
        let actions = state.handle(Event::Refused("a", "no netns".into()));
        let nack = ToAgent::Nack {
            uid: "a".into(),
            reason: "no netns".into(),
        };
        assert_eq!(actions, [Action::Send(nack), Action::Send(ToAgent::Ready)]);
    }
}
