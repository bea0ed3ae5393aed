//! Waiting for what a cluster on a busy machine does at last.

use std::time::{Duration, Instant};

/// Anything that comes at all has come by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// Waits until it gives something; else its last words are the failure's.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < until, "{what}: {why}"),
        }
        std::thread::sleep(PERIOD);
    }
}
