//! What the lab tells while it works.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use weft_lab::Event;

use crate::render;

/// What the lab tells: printed at once until the numbers are shown, then kept for the next look at them, because a line
/// in between would end up inside a live table.
#[derive(Default)]
pub(crate) struct News {
    kept: Mutex<Option<Vec<String>>>,
}

impl News {
    pub(crate) fn take(&self, started: Instant, event: Event) {
        let text = match event {
            Event::Step(text) => format!("{text} ready"),
            Event::PodReady(text) => format!("pod {text} ready"),
            Event::Warning(text) => format!("warning: {text}"),
        };
        match &mut *self.lock() {
            Some(kept) => kept.push(text),
            None => step(started, &text),
        }
    }

    /// What came since the last call; from the first call on, nothing is printed at once.
    pub(crate) fn collect(&self) -> Vec<String> {
        self.lock().replace(Vec::new()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line of the start, with the time since then.
pub(crate) fn step(started: Instant, text: &str) {
    render::note(&format!("{:6.1}s  {text}", started.elapsed().as_secs_f64()));
}
