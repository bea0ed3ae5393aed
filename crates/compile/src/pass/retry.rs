//! Retries of a rule, with Istio's defaults. Words that do not exist are found and left out; the others hold.

use std::time::Duration;

use weft_k8s::istio::HttpRetry;
use weft_model::retry::{
    DEFAULT_BACKOFF, DEFAULT_RETRY_ON, MAX_ATTEMPTS, RetryPolicy, lower as words,
};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};

/// Retries of a rule of a VirtualService that does not say otherwise.
const DEFAULT_ATTEMPTS: u32 = 2;

/// The policy of a rule. Without `retries` Istio's default holds; without `attempts` there are none.
pub(crate) fn lower(
    given: Option<&HttpRetry>,
    timeout: Option<Duration>,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> RetryPolicy {
    let mut policy = RetryPolicy {
        attempts: DEFAULT_ATTEMPTS,
        per_try_timeout: None,
        backoff: DEFAULT_BACKOFF,
        least_pause: Duration::ZERO,
        on: words(DEFAULT_RETRY_ON).0,
    };
    let Some(given) = given else { return policy };
    let field = format!("{field}.retries");
    policy.attempts = attempts(given.attempts, &field, subject, findings);
    policy.per_try_timeout = given
        .per_try_timeout
        .map(|limit| limit.0)
        .filter(|limit| !limit.is_zero());
    policy.backoff = given
        .backoff
        .map(|base| base.0)
        .filter(|base| !base.is_zero())
        .unwrap_or(DEFAULT_BACKOFF);
    if !given.retry_on.trim().is_empty() {
        let (on, unknown) = words(&given.retry_on);
        policy.on = on;
        for word in unknown {
            let message = format!("\"{word}\" is not known; the other words hold");
            findings.add(
                Code::RetryWord,
                subject,
                &format!("{field}.retryOn"),
                message,
            );
        }
    }
    if let (Some(one), Some(all), 1..) = (policy.per_try_timeout, timeout, policy.attempts)
        && one >= all
    {
        let message =
            "one try may take as long as the rule's timeout; make it shorter, or timeout longer";
        findings.add(
            Code::RetryNeverFits,
            subject,
            &format!("{field}.perTryTimeout"),
            message,
        );
    }
    policy
}

fn attempts(given: Option<i64>, field: &str, subject: Subject<'_>, findings: &mut Findings) -> u32 {
    let Some(given) = given else {
        let message = "retries without attempts means no retries, as in Istio; write attempts";
        findings.add(Code::RetriesDisabled, subject, field, message);
        return 0;
    };
    let used = u32::try_from(given.max(0))
        .unwrap_or(MAX_ATTEMPTS)
        .min(MAX_ATTEMPTS);
    if i64::from(used) != given {
        let message =
            format!("attempts {given} is not between 0 and {MAX_ATTEMPTS}; {used} is used");
        findings.add(
            Code::InvalidRetry,
            subject,
            &format!("{field}.attempts"),
            message,
        );
    }
    used
}
