//! What a lab tells while it works; the caller decides how to show it.

use std::sync::Arc;

/// Takes events from any thread; must not block.
pub type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// News for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step of the start is done.
    Step(String),
    /// A pod became ready: `namespace/name on node`.
    PodReady(String),
    /// Something the user should know or fix.
    Warning(String),
}

/// Takes events and does nothing.
#[must_use]
pub fn silent() -> Report {
    Arc::new(|_| {})
}
