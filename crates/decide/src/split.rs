//! Weighted choice among a rule's backends: exactly by weight, from one random number.

use weft_model::reason::Reason;

use crate::policy::{PreparedAction, PreparedBackend, PreparedRule};

/// Backends with their shares. A broken reference keeps its share, so that it fails and does not shift traffic.
#[derive(Debug)]
pub struct Split {
    /// Sum of the weights up to and including each backend; backends of weight 0 are left out.
    shares: Box<[(u64, Result<PreparedBackend, String>)]>,
    total: u64,
}

impl Split {
    pub(crate) fn new(
        backends: impl Iterator<Item = (u32, Result<PreparedBackend, String>)>,
    ) -> Self {
        let mut total = 0u64;
        let shares = backends
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, backend)| {
                total += u64::from(weight);
                (total, backend)
            })
            .collect();
        Self { shares, total }
    }

    /// The backend that `random` falls on; `Err` says why there is none, for people.
    ///
    /// # Errors
    /// The words of the broken reference, or that no backend has a weight.
    pub fn pick(&self, random: u64) -> Result<&PreparedBackend, &str> {
        // The high half of random × total is uniform below total without a division.
        let point = ((u128::from(random) * u128::from(self.total)) >> 64) as u64;
        match self.shares.iter().find(|(upto, _)| point < *upto) {
            Some((_, backend)) => backend.as_ref().map_err(String::as_str),
            None => Err("no backend has a weight above 0"),
        }
    }

    /// Sum of all weights.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// The backend for one attempt of a request that `rule` forwards; `random` is uniform over all of `u64`.
///
/// # Errors
/// The rule's `unresolved` where the share belongs to a reference that does not resolve or no backend has a weight;
/// `DirectResponse` where the rule answers by itself.
pub fn pick_backend(rule: &PreparedRule, random: u64) -> Result<&PreparedBackend, Reason> {
    match &rule.action {
        PreparedAction::Forward(split) => split.pick(random).map_err(|_| rule.unresolved),
        PreparedAction::Redirect(_) | PreparedAction::Direct(_) => Err(Reason::DirectResponse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::backend;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn shares_are_exact_over_evenly_spread_randoms(weights in proptest::collection::vec(0u32..200, 1..6)) {
            let split = Split::new(weights.iter().enumerate().map(|(n, weight)| (*weight, Ok(backend(&n.to_string())))));
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            let mut hits = BTreeMap::<String, u64>::new();
            for step in 0..total {
                // The middle of each of `total` equal parts of the random range.
                let random = ((u128::from(step) * 2 + 1) << 63) / u128::from(total);
                *hits.entry(split.pick(random as u64).unwrap().target.name.name.clone()).or_default() += 1;
            }
            for (n, weight) in weights.iter().enumerate() {
                prop_assert_eq!(hits.get(&n.to_string()).copied().unwrap_or(0), u64::from(*weight));
            }
        }
    }

    #[test]
    fn the_extremes_of_the_range_fall_on_the_first_and_the_last() {
        let split = Split::new(
            [
                (1, Ok(backend("first"))),
                (0, Ok(backend("none"))),
                (u32::MAX, Ok(backend("last"))),
            ]
            .into_iter(),
        );
        assert_eq!(split.pick(0).unwrap().target.name.name, "first");
        assert_eq!(split.pick(u64::MAX).unwrap().target.name.name, "last");
    }

    #[test]
    fn a_broken_reference_keeps_its_share() {
        let split = Split::new(
            [
                (1, Err("no such subset".to_owned())),
                (1, Ok(backend("good"))),
            ]
            .into_iter(),
        );
        assert_eq!(split.pick(0).unwrap_err(), "no such subset");
        assert!(split.pick(u64::MAX).is_ok());
    }

    #[test]
    fn without_weights_there_is_no_backend() {
        assert!(
            Split::new([(0, Ok(backend("a")))].into_iter())
                .pick(5)
                .is_err()
        );
        assert!(Split::new(std::iter::empty()).pick(5).is_err());
    }
}
