//! How long an attempt may run: the rule's limit of the whole exchange, retries included, and its limit of one attempt.

use std::time::Duration;

use weft_model::reason::Reason;

use crate::policy::PreparedRule;

/// What an attempt may use, and what it means when that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Time left from now.
    pub left: Duration,
    /// `RouteTimeout` (final) or `AttemptTimeout` (may be retried).
    pub reason: Reason,
}

/// The limit of an attempt that begins `elapsed` after the request came. None = no limit.
#[must_use]
pub fn attempt(rule: Option<&PreparedRule>, elapsed: Duration) -> Option<Limit> {
    let rule = rule?;
    let whole = rule.timeout.map(|limit| Limit {
        left: limit.saturating_sub(elapsed),
        reason: Reason::RouteTimeout,
    });
    let single = rule
        .retry
        .as_ref()
        .and_then(|retry| retry.per_try_timeout)
        .map(|left| Limit {
            left,
            reason: Reason::AttemptTimeout,
        });
    match (whole, single) {
        (Some(whole), Some(single)) => Some(if single.left < whole.left {
            single
        } else {
            whole
        }),
        (whole, single) => whole.or(single),
    }
}

/// Whether a pause before another attempt fits into the exchange; if not, the exchange has run out of time.
#[must_use]
pub fn fits(rule: Option<&PreparedRule>, elapsed: Duration, pause: Duration) -> bool {
    rule.and_then(|rule| rule.timeout)
        .is_none_or(|limit| elapsed.saturating_add(pause) < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{prepared_rule, retry_policy};

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_shorter_limit_counts_and_names_itself() {
        let mut retry = retry_policy("5xx");
        retry.per_try_timeout = Some(ms(1000));
        let rule = prepared_rule(|rule| {
            rule.timeout = Some(ms(2000));
            rule.retry = Some(retry);
        });
        let limit = |elapsed| attempt(Some(&rule), ms(elapsed)).unwrap();
        assert_eq!(
            limit(0),
            Limit {
                left: ms(1000),
                reason: Reason::AttemptTimeout
            }
        );
        assert_eq!(
            limit(1000),
            Limit {
                left: ms(1000),
                reason: Reason::RouteTimeout
            }
        );
        assert_eq!(
            limit(1500),
            Limit {
                left: ms(500),
                reason: Reason::RouteTimeout
            }
        );
        assert_eq!(
            limit(9000),
            Limit {
                left: ms(0),
                reason: Reason::RouteTimeout
            }
        );
        assert!(fits(Some(&rule), ms(1900), ms(99)) && !fits(Some(&rule), ms(1900), ms(100)));
    }

    #[test]
    fn without_a_rule_or_a_limit_time_is_not_limited() {
        assert_eq!(attempt(None, ms(5)), None);
        assert_eq!(attempt(Some(&prepared_rule(|_| {})), ms(5)), None);
        assert!(fits(None, ms(5), ms(1_000_000)));
    }
}
