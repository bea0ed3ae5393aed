//! Istio's histogram: fixed bounds, one writer, any number of readers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Number of finite bounds.
pub(crate) const BOUNDS: usize = 19;

/// Upper bounds (inclusive) as Prometheus shows them; milliseconds or bytes.
pub(crate) const BOUND_TEXT: [&str; BOUNDS] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000",
];

/// The same bounds in thousandths, so that 0.5 is whole.
const THOUSANDTHS: [u64; BOUNDS] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Adds to a cell that only the calling thread writes: a load and a store, cheaper than a read-modify-write.
pub(crate) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(amount),
        Ordering::Relaxed,
    );
}

/// Counts by bucket (the last takes what is above all bounds) and the sum of all values in thousandths.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// Records a value given in thousandths of the unit.
    pub(crate) fn record(&self, thousandths: u64) {
        let bucket = THOUSANDTHS
            .iter()
            .map(|bound| usize::from(thousandths > *bound))
            .sum::<usize>();
        if let Some(cell) = self.buckets.get(bucket) {
            add(cell, 1);
        }
        add(&self.sum, thousandths);
    }

    /// Forgets everything; only the writing thread may.
    pub(crate) fn clear(&self) {
        for cell in self.buckets.iter().chain([&self.sum]) {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// Number of values.
    pub(crate) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|cell| cell.load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

/// Histograms of several writers, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) buckets: [u64; BOUNDS + 1],
    /// Thousandths.
    pub(crate) sum: u64,
}

impl Merged {
    /// Adds one writer's.
    pub(crate) fn add(&mut self, from: &Histogram) {
        for (into, cell) in self.buckets.iter_mut().zip(&from.buckets) {
            *into = into.wrapping_add(cell.load(Ordering::Relaxed));
        }
        self.sum = self.sum.wrapping_add(from.sum.load(Ordering::Relaxed));
    }

    /// Number of values.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().copied().fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_numbers_are_the_same_bounds() {
        for (text, number) in BOUND_TEXT.iter().zip(THOUSANDTHS) {
            assert_eq!(text.parse::<f64>().unwrap() * 1000.0, number as f64);
        }
    }

    proptest! {
        #[test]
        fn a_value_falls_into_the_first_bucket_whose_bound_it_does_not_exceed(values in proptest::collection::vec(0u64..5_000_000_000, 0..50)) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(*value);
            }
            let mut merged = Merged::default();
            merged.add(&histogram);
            let mut cumulative = 0;
            for (count, bound) in merged.buckets.iter().zip(THOUSANDTHS) {
                cumulative += count;
                prop_assert_eq!(cumulative, values.iter().filter(|value| **value <= bound).count() as u64);
            }
            prop_assert_eq!(merged.count(), values.len() as u64);
            prop_assert_eq!(histogram.count(), merged.count());
            prop_assert_eq!(merged.sum, values.iter().sum::<u64>());
        }
    }
}
