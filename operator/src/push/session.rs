//! One node's conversation as a pure state machine. At most one delta is under way; it leads from what the node has
//! acknowledged to the newest generation, so a slow node costs no queue and skips what it was too slow for.

use weft_model::table::Interest;
use weft_wire::table::parts::split;
use weft_wire::table::{DeltaPart, Hello, MAX_INTEREST, Resume, SCHEMA};

use crate::published::{Generations, Published, Slice};

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something happens.
    Wait,
    /// Send these, in order.
    Send(Vec<DeltaPart>),
    /// End the stream with this text.
    Refuse(String),
}

/// A node's session.
#[derive(Debug)]
pub struct Session {
    node: String,
    interest: Interest,
    /// Whether the node's JSON is ours.
    same_schema: bool,
    /// What the node holds.
    held: Option<Slice>,
    /// What the node says it holds; not compared with anything yet.
    claimed: Option<Resume>,
    /// What the node will hold when it acknowledges.
    under_way: Option<Slice>,
    /// Generation of the mesh that the node has refused; not sent again unless its interest changes.
    refused: Option<u64>,
    /// Highest number that the node has been sent.
    seen: u64,
}

impl Session {
    /// Begins. `remembered` is what this program held, or had been sent, when it was last connected.
    #[must_use]
    pub fn new(hello: Hello, remembered: Vec<Slice>) -> Self {
        let same_schema = hello.schema == SCHEMA;
        let matches = |slice: &Slice, resume: &Resume| {
            slice.number == resume.generation && Some(slice.digest()) == resume.digest
        };
        let held = hello
            .resume
            .filter(|_| same_schema)
            .and_then(|resume| remembered.into_iter().find(|slice| matches(slice, &resume)));
        let claimed = hello.resume.map_or(0, |resume| resume.generation);
        Self {
            seen: hello.seen.max(claimed),
            node: hello.node,
            interest: hello.interest,
            same_schema,
            claimed: if held.is_some() { None } else { hello.resume },
            held,
            under_way: None,
            refused: None,
        }
    }

    /// What the node may still hold when it comes back.
    #[must_use]
    pub fn into_memory(self) -> Vec<Slice> {
        self.held.into_iter().chain(self.under_way).collect()
    }

    /// Generation of the mesh that the node's tables show; 0: none that we know.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.held.as_ref().map_or(0, |slice| slice.of)
    }

    /// Highest number that the node has been sent.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The node asks for more.
    pub fn subscribe(&mut self, interest: Interest) -> Step {
        self.interest.services.extend(interest.services);
        self.interest.workloads.extend(interest.workloads);
        let most = self
            .interest
            .services
            .len()
            .max(self.interest.workloads.len());
        if most > MAX_INTEREST {
            return Step::Refuse(format!(
                "the node asks for more than {MAX_INTEREST} objects of a kind; it begins anew"
            ));
        }
        self.refused = None;
        Step::Wait
    }

    /// The node uses the tables of this number; the mesh's generation they show. `None` when they were not under way.
    pub fn ack(&mut self, number: u64) -> Option<u64> {
        let slice = self.under_way.take_if(|slice| slice.number == number)?;
        let of = slice.of;
        self.held = Some(slice);
        self.refused = None;
        Some(of)
    }

    /// The node refuses the tables of this number; the mesh's generation they show. `None` when they were not under way.
    pub fn nack(&mut self, number: u64) -> Option<u64> {
        self.refused = self
            .under_way
            .take_if(|slice| slice.number == number)
            .map(|slice| slice.of);
        self.refused
    }

    /// What to do now that `published` is the newest generation.
    #[must_use]
    pub fn step(&mut self, published: &Published, generations: &Generations) -> Step {
        if published.generation == 0 || self.under_way.is_some() {
            return Step::Wait;
        }
        if let Some(claimed) = self.claimed.take() {
            self.held = self.verify(claimed, published);
        }
        if self.refused == Some(published.generation) {
            return Step::Wait;
        }
        let nothing = Slice::default();
        let before = self.held.as_ref().unwrap_or(&nothing);
        let (slice, mut delta) = published.slice(&self.node, &self.interest, before);
        if before.of == published.generation && delta.is_empty() {
            return Step::Wait;
        }
        let mut base = self.held.as_ref().map(|held| held.number);
        if !self.same_schema && base.is_some() {
            // Their digest is not ours, so nothing proves that a difference would fit.
            base = None;
            delta = published.slice(&self.node, &self.interest, &nothing).1;
        }
        let number = if published.generation > self.seen {
            published.generation
        } else {
            generations.count_above(self.seen);
            generations.next()
        };
        let digest = self.same_schema.then(|| slice.digest());
        match split(number, base, digest, &delta) {
            Ok(parts) => {
                self.under_way = Some(slice.numbered(number));
                self.seen = number;
                Step::Send(parts)
            }
            Err(error) => Step::Refuse(error.to_string()),
        }
    }

    /// The slice that the node holds, if its claim is what we would send now: after a restart of ours that is as good
    /// as having sent it.
    fn verify(&self, claimed: Resume, published: &Published) -> Option<Slice> {
        let digest = claimed.digest.filter(|_| self.same_schema)?;
        let (slice, _) = published.slice(&self.node, &self.interest, &Slice::default());
        (slice.digest() == digest).then(|| slice.numbered(claimed.generation))
    }
}

#[cfg(test)]
mod tests;
