//! The conversation with the operator as a pure state machine: events in, actions out, no clock and no socket. It
//! guarantees that only whole, proven deltas are offered to the owner, that what the owner has not taken is never
//! acknowledged, that no two states have the same generation, and that a broken conversation ends in a reset instead of in tables that nobody sent.

use std::sync::Arc;

use weft_model::table::Interest;
use weft_wire::table::parts::{Assembler, Whole};
use weft_wire::table::{
    Digest, Hello, MAX_INTEREST, NodeMessage, OperatorMessage, PodTrouble, Resume, SCHEMA,
};

use crate::disk::Saved;
use crate::{ClientConfig, State};

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The stream stands; nothing has been sent on it.
    Connected,
    /// The stream is gone.
    Lost,
    /// The operator says something.
    Message(OperatorMessage),
    /// The owner asks for more.
    Wanted(Interest),
    /// The owner uses the state of this generation.
    Applied(u64),
    /// The owner cannot use the state of this generation.
    Refused {
        /// The generation.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// The owner cannot capture these pods.
    Troubles(Vec<PodTrouble>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send to the operator.
    Send(NodeMessage),
    /// Give the owner this state.
    Offer(Arc<State>),
    /// The last good state or the interest has changed: write it to disk.
    Keep,
    /// These are no longer wanted.
    Forget(Interest),
    /// Give the stream up and connect again.
    Reconnect(String),
}

/// Tables with their digest; `None` when they came from another schema.
#[derive(Clone, Debug, Default)]
struct Held {
    state: Arc<State>,
    digest: Option<Digest>,
}

/// One node's session; lives as long as the process.
#[derive(Debug)]
pub(crate) struct Session {
    node: String,
    kind: weft_wire::table::NodeKind,
    version: String,
    /// In use by the owner.
    good: Held,
    /// Offered to the owner, who has not answered yet.
    offered: Option<Held>,
    /// Highest generation ever offered: no two states have the same.
    seen: u64,
    interest: Interest,
    /// Wanted since the stream was opened; may not have been answered yet.
    fresh: Interest,
    /// Pods that the owner cannot capture.
    troubles: Vec<PodTrouble>,
    connected: bool,
    assembler: Assembler,
}

impl Session {
    /// A session that starts from what was on disk.
    pub(crate) fn new(config: &ClientConfig, saved: Option<Saved>) -> Self {
        let (good, interest) = match saved {
            Some(saved) => {
                let digest = (saved.schema == SCHEMA).then_some(saved.digest);
                let state = State {
                    generation: saved.generation,
                    tables: saved.tables,
                };
                (
                    Held {
                        state: Arc::new(state),
                        digest,
                    },
                    saved.interest,
                )
            }
            None => (
                Held {
                    digest: Some(Digest::default()),
                    ..Held::default()
                },
                Interest::default(),
            ),
        };
        Self {
            node: config.node.clone(),
            kind: config.kind,
            version: config.version.clone(),
            seen: good.state.generation,
            good,
            offered: None,
            fresh: interest.clone(),
            interest,
            troubles: Vec::new(),
            connected: false,
            assembler: Assembler::default(),
        }
    }

    /// The last good state.
    pub(crate) fn good(&self) -> &Arc<State> {
        &self.good.state
    }

    /// Everything that is wanted.
    pub(crate) fn interest(&self) -> &Interest {
        &self.interest
    }

    /// What belongs on disk; nothing before the first good generation.
    pub(crate) fn saved(&self) -> Option<Snapshot> {
        let digest = self.good.digest?;
        (self.good.state.generation > 0).then(|| Snapshot {
            node: self.node.clone(),
            digest,
            interest: self.interest.clone(),
            state: Arc::clone(&self.good.state),
        })
    }

    /// Takes an event.
    pub(crate) fn on(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Connected => self.connected(),
            Event::Lost => {
                self.connected = false;
                Vec::new()
            }
            Event::Message(OperatorMessage::Delta(part)) => match self.assembler.push(part) {
                Ok(Some(whole)) => self.delta(&whole),
                Ok(None) => Vec::new(),
                Err(error) => self.drifted(error.to_string()),
            },
            Event::Wanted(interest) => self.wanted(interest),
            Event::Applied(generation) => self.applied(generation),
            Event::Refused { generation, reason } => self.refused(generation, reason),
            Event::Troubles(troubles) => self.troubled(troubles),
        }
    }

    fn troubled(&mut self, troubles: Vec<PodTrouble>) -> Vec<Action> {
        if self.troubles == troubles {
            return Vec::new();
        }
        self.troubles = troubles;
        if !self.connected {
            return Vec::new();
        }
        vec![Action::Send(NodeMessage::Troubles(self.troubles.clone()))]
    }

    fn connected(&mut self) -> Vec<Action> {
        self.connected = true;
        self.assembler = Assembler::default();
        // The operator continues from the last good state, so an offer that the owner has not answered comes again.
        self.offered = None;
        let forgotten = self.prune();
        let hello = Hello {
            node: self.node.clone(),
            kind: self.kind,
            version: self.version.clone(),
            schema: SCHEMA,
            resume: (self.good.state.generation > 0).then(|| Resume {
                generation: self.good.state.generation,
                digest: self.good.digest,
            }),
            interest: self.interest.clone(),
            seen: self.seen,
        };
        let mut actions = Vec::new();
        if forgotten != Interest::default() {
            actions.push(Action::Forget(forgotten));
        }
        actions.push(Action::Send(NodeMessage::Hello(hello)));
        if !self.troubles.is_empty() {
            let troubles = NodeMessage::Troubles(self.troubles.clone());
            actions.push(Action::Send(troubles));
        }
        actions
    }

    /// Drops what an operator has had the time to answer and did not: services and workloads that are gone. Otherwise
    /// years of pods would pile up in the interest.
    fn prune(&mut self) -> Interest {
        let tables = &self.good.state.tables;
        let fresh = std::mem::take(&mut self.fresh);
        let gone = Interest {
            services: self
                .interest
                .services
                .iter()
                .copied()
                .filter(|id| !tables.services.contains_key(id) && !fresh.services.contains(id))
                .collect(),
            workloads: self
                .interest
                .workloads
                .iter()
                .copied()
                .filter(|id| !tables.workloads.contains_key(id) && !fresh.workloads.contains(id))
                .collect(),
        };
        self.interest
            .services
            .retain(|id| !gone.services.contains(id));
        self.interest
            .workloads
            .retain(|id| !gone.workloads.contains(id));
        gone
    }

    fn delta(&mut self, whole: &Whole) -> Vec<Action> {
        let header = whole.header;
        if self.offered.is_some() {
            return self.drifted(format!(
                "generation {} arrived before the one under way was acknowledged",
                header.generation
            ));
        }
        let before = self.good.state.generation;
        if header.generation <= self.seen {
            let reason = format!("stale: generation {} was sent before", self.seen);
            return self.nack(header.generation, reason);
        }
        if header.base.is_some_and(|base| base != before) {
            return self.drifted(format!(
                "generation {} starts from {:?}, but {before} is in use",
                header.generation, header.base
            ));
        }
        let delta = match whole.changes() {
            Ok(delta) => delta,
            Err(error) => {
                return self.nack(
                    header.generation,
                    format!("the delta cannot be read: {error}"),
                );
            }
        };
        let (mut tables, start) = match header.base {
            Some(_) => (self.good.state.tables.clone(), self.good.digest),
            None => (Default::default(), Some(Digest::default())),
        };
        let Some(mut digest) = start else {
            return self.drifted("a delta on tables of another schema".to_owned());
        };
        digest.apply(&mut tables, delta);
        if let Some(expected) = header.digest.filter(|expected| *expected != digest) {
            let reason = format!("digest {digest} after the delta, the operator has {expected}");
            return match header.base {
                Some(_) => self.drifted(reason),
                // Another reset would end the same way: keep what serves and let people see it.
                None => self.nack(header.generation, reason),
            };
        }
        let state = Arc::new(State {
            generation: header.generation,
            tables,
        });
        self.seen = header.generation;
        self.offered = Some(Held {
            state: Arc::clone(&state),
            digest: Some(digest),
        });
        vec![Action::Offer(state)]
    }

    /// Both ends no longer agree: connect again and let the operator send everything.
    fn drifted(&mut self, reason: String) -> Vec<Action> {
        self.good.digest = None;
        vec![Action::Reconnect(reason)]
    }

    fn wanted(&mut self, mut interest: Interest) -> Vec<Action> {
        let room = MAX_INTEREST.saturating_sub(self.interest.services.len());
        interest.services = interest
            .services
            .difference(&self.interest.services)
            .copied()
            .take(room)
            .collect();
        let room = MAX_INTEREST.saturating_sub(self.interest.workloads.len());
        interest.workloads = interest
            .workloads
            .difference(&self.interest.workloads)
            .copied()
            .take(room)
            .collect();
        if interest == Interest::default() {
            return Vec::new();
        }
        for all in [&mut self.interest, &mut self.fresh] {
            all.services.extend(&interest.services);
            all.workloads.extend(&interest.workloads);
        }
        let mut actions = vec![Action::Keep];
        if self.connected {
            actions.push(Action::Send(NodeMessage::Subscribe(interest)));
        }
        actions
    }

    fn applied(&mut self, generation: u64) -> Vec<Action> {
        match self
            .offered
            .take_if(|offered| offered.state.generation == generation)
        {
            Some(offered) => {
                self.good = offered;
                let mut actions = vec![Action::Keep];
                if self.connected {
                    actions.push(Action::Send(NodeMessage::Ack { generation }));
                }
                actions
            }
            None => Vec::new(),
        }
    }

    fn refused(&mut self, generation: u64, reason: String) -> Vec<Action> {
        match self
            .offered
            .take_if(|offered| offered.state.generation == generation)
        {
            Some(_) => {
                let mut actions = vec![Action::Offer(Arc::clone(&self.good.state))];
                actions.extend(self.nack(generation, reason));
                actions
            }
            None => Vec::new(),
        }
    }

    fn nack(&mut self, generation: u64, reason: String) -> Vec<Action> {
        if !self.connected {
            return Vec::new();
        }
        vec![Action::Send(NodeMessage::Nack { generation, reason })]
    }
}

/// What is written to disk, still shared with the session.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) node: String,
    pub(crate) digest: Digest,
    pub(crate) interest: Interest,
    pub(crate) state: Arc<State>,
}

#[cfg(test)]
mod tests;
