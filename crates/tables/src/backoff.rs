//! Pauses between attempts to reach the operator: doubling, capped, and spread at random, so that a thousand nodes that
//! lost it together do not come back together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// First pause at most.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause: how long a node may lag behind an operator that has just come back.
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses of one client.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    /// Keyed at random by the operating system, once per process and client.
    random: RandomState,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            failures: 0,
            random: RandomState::new(),
        }
    }

    /// The connection worked: begin again with the first pause.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause, between half of the step and the whole step.
    pub(crate) fn next(&mut self) -> Duration {
        let step = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let spread = self.random.hash_one(self.failures) % 1000;
        step / 2 + step / 2000 * u32::try_from(spread).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_never_vanish() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(
            pauses[10..]
                .iter()
                .all(|pause| *pause >= LONGEST / 2 && *pause <= LONGEST)
        );
        let distinct: std::collections::BTreeSet<_> = pauses[10..].iter().collect();
        assert!(
            distinct.len() > 10,
            "the pauses are not spread: {distinct:?}"
        );
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
