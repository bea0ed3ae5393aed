//! What to do next for one pod: a pure function of what is wanted and what is. Everything that can happen to a pod
//! (ADD, DEL, a label, a restart of agent or proxy) only changes the situation; nobody decides anywhere else.
//!
//! Two orders hold in every path. Into the mesh: listeners, then a proxy that serves them, then rules, so that no
//! connection is ever redirected to a closed port. Out of it: the jumps, then the last connection, then the rest.

use weft_netns::NetnsId;

/// What the tables want for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// In the mesh.
    Capture,
    /// Out of the mesh.
    Leave,
    /// The tables do not name the pod: nothing that works is changed.
    Unknown,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An earlier agent captured it; its rules may be there, its listeners are not ours.
    Found,
    /// Its listeners are open and offered to the proxies.
    Offered,
    /// Its rules are in place.
    Captured {
        /// Whether they are known to be those that the tables want now.
        current: bool,
    },
    /// New connections go directly; old ones still run through the proxy.
    Releasing {
        /// The drain deadline has passed.
        overdue: bool,
    },
}

/// What the proxies say of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One serves it.
    Served,
    /// It was offered; no answer yet.
    Pending,
    /// All refuse it.
    Refused(String),
    /// No proxy is there.
    Nobody,
}

/// All that matters for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    /// What the tables want.
    pub(crate) wish: Wish,
    /// The namespace that the pod lives in, when known; none after DEL.
    pub(crate) home: Option<NetnsId>,
    /// The namespace that we hold something of, and how far it is.
    pub(crate) held: Option<(NetnsId, Stage)>,
    /// What the proxies say.
    pub(crate) verdict: Verdict,
    /// Whether no proxy has a connection of the pod left.
    pub(crate) idle: bool,
}

/// One thing to do, after which the situation is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is as it should be.
    Rest,
    /// Nothing now: a proxy must speak first.
    Wait(Wait),
    /// Open the listeners and offer them.
    Open,
    /// Make the rules as wanted.
    Capture,
    /// Remove the jumps, tell the proxies.
    Release,
    /// Remove all of it: rules, then the proxies' copies, then ours.
    Remove,
}

/// What a pod waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A proxy that connects.
    Proxy,
    /// A proxy's acknowledgement.
    Ack,
    /// A proxy that does not refuse it.
    Acceptance(String),
    /// The end of its last connection.
    Idle,
    /// Tables that name it.
    Tables,
}

/// Decides.
pub(crate) fn next(situation: &Situation) -> Step {
    let Situation {
        wish,
        home,
        held,
        verdict,
        idle,
    } = situation;
    let Some((namespace, stage)) = held else {
        return match (home, wish) {
            (Some(_), Wish::Capture) => Step::Open,
            _ => Step::Rest,
        };
    };
    if *home != Some(*namespace) {
        return Step::Remove;
    }
    match (stage, wish) {
        (Stage::Found, Wish::Capture) => Step::Open,
        // Its connections may still run through a proxy that is about to come back to us.
        (Stage::Found, Wish::Leave) if !*idle => Step::Wait(Wait::Idle),
        (Stage::Found | Stage::Offered, Wish::Leave) => Step::Remove,
        (Stage::Found | Stage::Offered, Wish::Unknown) => Step::Wait(Wait::Tables),
        (Stage::Offered, Wish::Capture) => match verdict {
            Verdict::Served => Step::Capture,
            Verdict::Pending => Step::Wait(Wait::Ack),
            Verdict::Refused(reason) => Step::Wait(Wait::Acceptance(reason.clone())),
            Verdict::Nobody => Step::Wait(Wait::Proxy),
        },
        (Stage::Captured { current: false } | Stage::Releasing { .. }, Wish::Capture) => {
            Step::Capture
        }
        (Stage::Captured { current: true }, Wish::Capture)
        | (Stage::Captured { .. }, Wish::Unknown) => Step::Rest,
        (Stage::Captured { .. }, Wish::Leave) => Step::Release,
        (Stage::Releasing { overdue }, Wish::Leave | Wish::Unknown) => {
            if *idle || *overdue {
                Step::Remove
            } else {
                Step::Wait(Wait::Idle)
            }
        }
    }
}

#[cfg(test)]
mod tests;
