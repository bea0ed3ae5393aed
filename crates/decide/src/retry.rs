//! Whether a failed attempt is made again, and after which pause.
//!
//! Never after a byte of a response has reached the client, never with a body that is gone, and without a policy only
//! where the backend has surely processed nothing (contracts.md §6).

use std::time::Duration;

use weft_model::reason::Reason;
use weft_model::retry::{RetryOn, RetryPolicy};

/// Retries that the transport makes by itself where no rule says otherwise, and for connections that had gone stale.
pub const TRANSPORT_RETRIES: u32 = 2;
/// Base of the back-off where no rule says otherwise (Istio's default).
pub const TRANSPORT_BACKOFF: Duration = weft_model::retry::DEFAULT_BACKOFF;
/// The longest pause as a multiple of the base (Envoy's default).
pub const BACKOFF_CAP: u32 = 10;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The backend answered.
    Response {
        /// HTTP status.
        status: u16,
        /// gRPC code of headers or trailers, for gRPC.
        grpc: Option<u16>,
    },
    /// There was no response, and why.
    Failed(Reason),
}

/// The facts of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Whether the whole request can be sent again: nothing of its body was taken yet, or all of it was kept.
    pub body_replayable: bool,
    /// Bytes of a response that the client has already been sent.
    pub bytes_forwarded: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make another attempt after a pause.
    Retry {
        /// The pause, jitter included.
        after: Duration,
    },
    /// Take this outcome.
    Stop(Stop),
}

/// Why no other attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing failed that the policy retries.
    NotRetriable,
    /// The policy's attempts are used up (flag `URX`).
    Exhausted,
    /// Part of the response is with the client.
    Forwarded,
    /// The body cannot be sent again.
    NotReplayable,
}

/// Decides after attempt number `attempt` (the first is 1). `policy` is the rule's; none = the transport's own.
#[must_use]
pub fn next(policy: Option<&RetryPolicy>, attempt: u32, outcome: &Outcome, random: u64) -> Next {
    let stale = matches!(outcome.end, End::Failed(Reason::StaleConnection));
    let wanted = stale
        || policy.map_or_else(
            || transport_retries(outcome.end),
            |policy| covers(&policy.on, outcome.end),
        );
    if !wanted {
        return Next::Stop(Stop::NotRetriable);
    }
    if outcome.bytes_forwarded > 0 {
        return Next::Stop(Stop::Forwarded);
    }
    if !outcome.body_replayable {
        return Next::Stop(Stop::NotReplayable);
    }
    let allowed = policy.map_or(TRANSPORT_RETRIES, |policy| policy.attempts);
    // A stale connection is the proxy's own doing; `attempts: 0` must not turn it into an error.
    let allowed = if stale {
        allowed.max(TRANSPORT_RETRIES)
    } else {
        allowed
    };
    if attempt > allowed {
        return Next::Stop(if allowed == 0 {
            Stop::NotRetriable
        } else {
            Stop::Exhausted
        });
    }
    let base = policy.map_or(TRANSPORT_BACKOFF, |policy| policy.backoff);
    Next::Retry {
        after: if stale {
            Duration::ZERO
        } else {
            let least = policy.map_or(Duration::ZERO, |policy| policy.least_pause);
            least.saturating_add(backoff(base, attempt, random))
        },
    }
}

/// Outcomes after which the backend has processed nothing for sure.
fn transport_retries(end: End) -> bool {
    matches!(
        end,
        End::Failed(Reason::UpstreamConnect | Reason::StreamRefused)
    )
}

fn covers(on: &RetryOn, end: End) -> bool {
    match end {
        End::Response { status, grpc } => {
            on.status(status) || grpc.is_some_and(|code| on.grpc.contains(&code))
        }
        End::Failed(reason) => on.reasons.contains(&reason),
    }
}

/// Uniform between nothing and `base × (2^retry − 1)`, at most ten times the base: full jitter keeps the retries of many
/// clients apart.
fn backoff(base: Duration, retry: u32, random: u64) -> Duration {
    let factor = 1u32
        .checked_shl(retry)
        .map_or(BACKOFF_CAP, |power| (power - 1).min(BACKOFF_CAP));
    let ceiling = u64::try_from(base.saturating_mul(factor).as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(random) * u128::from(ceiling)) >> 64) as u64)
}

#[cfg(test)]
mod tests;
