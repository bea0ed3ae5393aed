//! Retry decisions by table, and the law of the pause.

use super::*;
use crate::fixture::retry_policy;
use proptest::prelude::*;

fn failed(reason: Reason) -> Outcome {
    Outcome {
        end: End::Failed(reason),
        body_replayable: true,
        bytes_forwarded: 0,
    }
}

fn answered(status: u16) -> Outcome {
    Outcome {
        end: End::Response { status, grpc: None },
        body_replayable: true,
        bytes_forwarded: 0,
    }
}

fn retries(policy: Option<&RetryPolicy>, attempt: u32, outcome: &Outcome) -> bool {
    matches!(next(policy, attempt, outcome, 0), Next::Retry { .. })
}

#[test]
fn the_deck_policy_retries_three_times() {
    let policy = retry_policy("connect-failure,5xx");
    for outcome in [
        answered(500),
        answered(503),
        failed(Reason::UpstreamConnect),
        failed(Reason::AttemptTimeout),
    ] {
        for attempt in 1..=3 {
            assert!(retries(Some(&policy), attempt, &outcome), "{outcome:?}");
        }
        assert_eq!(
            next(Some(&policy), 4, &outcome, 0),
            Next::Stop(Stop::Exhausted)
        );
    }
    for outcome in [
        answered(200),
        answered(404),
        failed(Reason::RouteTimeout),
        failed(Reason::ClientGone),
        failed(Reason::NoEndpoint),
    ] {
        assert_eq!(
            next(Some(&policy), 1, &outcome, 0),
            Next::Stop(Stop::NotRetriable),
            "{outcome:?}"
        );
    }
}

#[test]
fn without_a_policy_only_what_was_surely_not_processed() {
    for reason in [
        Reason::UpstreamConnect,
        Reason::StreamRefused,
        Reason::StaleConnection,
    ] {
        assert!(retries(None, 1, &failed(reason)) && retries(None, 2, &failed(reason)));
        assert!(!retries(None, 3, &failed(reason)));
    }
    for outcome in [
        failed(Reason::UpstreamReset),
        failed(Reason::AttemptTimeout),
        answered(503),
    ] {
        assert!(!retries(None, 1, &outcome), "{outcome:?}");
    }
}

#[test]
fn zero_attempts_switch_retries_off_but_stale_connections_stay_invisible() {
    let policy = RetryPolicy {
        attempts: 0,
        ..retry_policy("5xx")
    };
    assert_eq!(
        next(Some(&policy), 1, &answered(500), 0),
        Next::Stop(Stop::NotRetriable)
    );
    let stale = failed(Reason::StaleConnection);
    assert_eq!(
        next(Some(&policy), 1, &stale, u64::MAX),
        Next::Retry {
            after: Duration::ZERO
        }
    );
    assert!(!retries(Some(&policy), 3, &stale));
}

#[test]
fn nothing_is_repeated_that_cannot_be_repeated() {
    let policy = retry_policy("5xx,unavailable");
    let gone = Outcome {
        body_replayable: false,
        ..answered(500)
    };
    assert_eq!(
        next(Some(&policy), 1, &gone, 0),
        Next::Stop(Stop::NotReplayable)
    );
    let begun = Outcome {
        bytes_forwarded: 1,
        ..failed(Reason::UpstreamReset)
    };
    assert_eq!(
        next(Some(&policy), 1, &begun, 0),
        Next::Stop(Stop::Forwarded)
    );
}

#[test]
fn grpc_codes_count_beside_the_status() {
    let policy = retry_policy("unavailable");
    let answer = |grpc| Outcome {
        end: End::Response { status: 200, grpc },
        ..answered(200)
    };
    assert!(retries(Some(&policy), 1, &answer(Some(14))));
    assert!(!retries(Some(&policy), 1, &answer(Some(0))));
    assert!(!retries(Some(&policy), 1, &answer(None)));
}

proptest! {
    #[test]
    fn pauses_grow_to_a_cap_and_are_spread(retry in 1u32..200, random in any::<u64>(), base in 0u64..10_000) {
        let base = Duration::from_millis(base);
        let pause = backoff(base, retry, random);
        prop_assert!(pause <= base * BACKOFF_CAP);
        prop_assert!(pause <= backoff(base, retry + 1, random));
        prop_assert!(pause <= backoff(base, retry, random.saturating_add(1 << 40)));
        prop_assert_eq!(backoff(base, retry, 0), Duration::ZERO);
    }
}

#[test]
fn the_default_pauses_are_envoys() {
    let longest = |retry| backoff(TRANSPORT_BACKOFF, retry, u64::MAX).as_millis();
    assert_eq!(
        [longest(1), longest(2), longest(3), longest(4), longest(40)],
        [24, 74, 174, 249, 249]
    );
}
