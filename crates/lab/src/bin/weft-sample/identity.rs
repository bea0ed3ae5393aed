//! Who this process says it is, what it calls, and what it has to remember between requests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Most keys that are remembered, for failures and for the store.
const MAX_KEYS: usize = 100_000;

pub(crate) struct Identity {
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) pod: String,
    pub(crate) namespace: String,
    pub(crate) upstreams: Vec<String>,
    pub(crate) delay: Duration,
    failures: Mutex<HashMap<String, u64>>,
    store: Mutex<HashMap<String, String>>,
}

impl Identity {
    pub(crate) fn from_environment() -> Self {
        let get = |name: &str| std::env::var(name).unwrap_or_default();
        let upstreams = get("UPSTREAMS");
        Self {
            service: get("SERVICE"),
            version: get("VERSION"),
            pod: get("POD"),
            namespace: get("NAMESPACE"),
            upstreams: upstreams
                .split([',', ' ', '\n'])
                .filter(|u| !u.is_empty())
                .map(str::to_owned)
                .collect(),
            delay: Duration::from_millis(get("DELAY_MS").parse().unwrap_or(0)),
            failures: Mutex::default(),
            store: Mutex::default(),
        }
    }

    /// How many times this key has been asked for before.
    pub(crate) fn count(&self, key: &str) -> u64 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_KEYS {
            failures.clear();
        }
        let count = failures.entry(key.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    pub(crate) fn set(&self, key: &str, value: &str) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.len() >= MAX_KEYS {
            store.clear();
        }
        store.insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }
}
