//! Which outcomes are tried again. Users' words are lowered here, once, to sets of facts; only the sets travel.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Largest number of retries that one rule may ask for.
pub const MAX_ATTEMPTS: u32 = 100;
/// Bytes of a request body that are kept for replay; a longer body is not retried once bytes were sent.
pub const REPLAY_BYTES: usize = 64 * 1024;
/// Base interval of the exponential back-off between attempts (Istio's default).
pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

/// Retry policy of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Retries after the first attempt; 0 disables.
    pub attempts: u32,
    /// Limit of each attempt; none = the rule's timeout alone.
    pub per_try_timeout: Option<Duration>,
    /// Base of the back-off.
    pub backoff: Duration,
    /// What every pause has at least; the back-off comes on top.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub least_pause: Duration,
    /// What is tried again.
    pub on: RetryOn,
}

/// Facts that make an outcome retriable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryOn {
    /// Inclusive ranges of HTTP status codes received from the backend.
    pub statuses: Vec<(u16, u16)>,
    /// gRPC codes received in headers or trailers.
    pub grpc: Vec<u16>,
    /// Failures without a response.
    pub reasons: Vec<Reason>,
}

impl RetryOn {
    /// Whether a response with this status is tried again.
    #[must_use]
    pub fn status(&self, status: u16) -> bool {
        self.statuses
            .iter()
            .any(|&(low, high)| low <= status && status <= high)
    }
}

/// One word of Istio's `retryOn` and what it stands for.
struct Word {
    name: &'static str,
    statuses: &'static [(u16, u16)],
    grpc: &'static [u16],
    reasons: &'static [Reason],
}

const fn word(
    name: &'static str,
    statuses: &'static [(u16, u16)],
    grpc: &'static [u16],
    reasons: &'static [Reason],
) -> Word {
    Word {
        name,
        statuses,
        grpc,
        reasons,
    }
}

/// A response that never came, whatever the cause.
const NO_RESPONSE: &[Reason] = &[
    Reason::UpstreamConnect,
    Reason::UpstreamReset,
    Reason::UpstreamProtocol,
    Reason::AttemptTimeout,
];

/// Envoy's vocabulary (x-envoy-retry-on and x-envoy-retry-grpc-on); a new word made of known facts is one row.
const WORDS: &[Word] = &[
    word("5xx", &[(500, 599)], &[], NO_RESPONSE),
    word("gateway-error", &[(502, 504)], &[], NO_RESPONSE),
    word("reset", &[], &[], NO_RESPONSE),
    word(
        "reset-before-request",
        &[],
        &[],
        &[Reason::UpstreamConnect, Reason::StaleConnection],
    ),
    word("connect-failure", &[], &[], &[Reason::UpstreamConnect]),
    word(
        "refused-stream",
        &[],
        &[],
        &[Reason::StreamRefused, Reason::StaleConnection],
    ),
    word("retriable-4xx", &[(409, 409)], &[], &[]),
    word("cancelled", &[], &[1], &[]),
    word("deadline-exceeded", &[], &[4], &[]),
    word("internal", &[], &[13], &[]),
    word("resource-exhausted", &[], &[8], &[]),
    word("unavailable", &[], &[14], &[]),
];

/// Words that are accepted and add nothing by themselves, because the facts they name come by other words.
const EMPTY_WORDS: &[&str] = &["retriable-status-codes"];

/// Istio's default when a VirtualService does not say otherwise.
pub const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// Lowers a `retryOn` text; returns the set and the words that are not known.
#[must_use]
pub fn lower(text: &str) -> (RetryOn, Vec<String>) {
    let mut on = RetryOn::default();
    let mut unknown = Vec::new();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        if let Some(row) = WORDS.iter().find(|row| row.name == item) {
            on.statuses.extend_from_slice(row.statuses);
            on.grpc.extend_from_slice(row.grpc);
            on.reasons.extend_from_slice(row.reasons);
        } else if let Some(code) = item
            .parse::<u16>()
            .ok()
            .filter(|code| (100..600).contains(code))
        {
            on.statuses.push((code, code));
        } else if !EMPTY_WORDS.contains(&item) {
            unknown.push(item.to_owned());
        }
    }
    on.statuses.sort_unstable();
    on.statuses.dedup();
    on.grpc.sort_unstable();
    on.grpc.dedup();
    on.reasons.sort_unstable();
    on.reasons.dedup();
    (on, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deck_example_covers_connects_and_server_errors() {
        let (on, unknown) = lower("connect-failure,5xx");
        assert!(unknown.is_empty());
        assert!(on.status(500) && on.status(599) && !on.status(404));
        assert!(
            on.reasons.contains(&Reason::UpstreamConnect)
                && on.reasons.contains(&Reason::AttemptTimeout)
        );
    }

    #[test]
    fn a_number_is_a_status_and_nonsense_is_named() {
        let (on, unknown) = lower("503, bogus, retriable-status-codes");
        assert!(on.status(503) && !on.status(500));
        assert_eq!(unknown, ["bogus"]);
    }
}
