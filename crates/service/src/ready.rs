//! Readiness as guards. A part is registered as not ready, says so by holding an [`Up`], and is not ready again the
//! moment that guard is dropped, whether by an orderly stop, an early return or a panic: absence means "not ready".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All parts of a process. With no part registered the process is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// One registered part; counts as not ready until [`Part::up`].
#[derive(Clone, Debug)]
pub struct Part {
    readiness: Readiness,
    name: String,
}

/// The part is ready as long as this lives.
#[derive(Debug)]
#[must_use = "dropping the guard makes the part not ready again"]
pub struct Up {
    part: Part,
}

impl Readiness {
    /// Registers a part that must be up before the process is ready.
    #[must_use]
    pub fn part(&self, name: &str) -> Part {
        self.lock().entry(name.to_owned()).or_insert(0);
        Part {
            readiness: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Names of the parts that are not ready, sorted; empty means ready.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let parts = self.lock();
        parts
            .iter()
            .filter(|(_, up)| **up == 0)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Whether every part is up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|up| *up > 0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Counters stay consistent whatever panicked while it held the lock.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Marks the part ready for the life of the guard. Several guards may be held; the last one counts.
    pub fn up(&self) -> Up {
        *self.readiness.lock().entry(self.name.clone()).or_insert(0) += 1;
        Up { part: self.clone() }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(up) = self.part.readiness.lock().get_mut(&self.part.name) {
            *up = up.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_guard_lives() {
        let readiness = Readiness::default();
        let tables = readiness.part("tables");
        let pods = readiness.part("pods");
        assert_eq!(readiness.waiting(), ["pods", "tables"]);
        let up = tables.up();
        let _pods = pods.up();
        assert!(readiness.is_ready());
        drop(up);
        assert_eq!(readiness.waiting(), ["tables"]);
    }

    #[test]
    fn a_panic_makes_the_part_not_ready() {
        let readiness = Readiness::default();
        let part = readiness.part("worker");
        let _ = std::panic::catch_unwind(|| {
            let _up = part.up();
            panic!("the worker ends");
        });
        assert!(!readiness.is_ready());
    }
}
