//! Due times finer than a runtime's timer (1 ms): a thread sleeps until each is due.

use std::{thread, time::Duration};

use anyhow::Context;
use nix::sys::prctl::set_timerslack;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};

/// The kernel may be late by this much (its default, 50 µs, shows in a median of 200).
const SLACK_NANOSECONDS: u64 = 1_000;

/// Sends `total` due times at `rate` a second from now on; none is left out when the thread is late.
pub(crate) fn start(rate: u32, total: u64) -> anyhow::Result<UnboundedReceiver<Instant>> {
    let (sender, receiver) = unbounded_channel();
    let interval = Duration::from_secs(1) / rate.max(1);
    let pace = move || {
        // Without it the figures are a little worse for everyone, nothing more.
        let _ = set_timerslack(SLACK_NANOSECONDS);
        let mut due = Instant::now();
        for _ in 0..total {
            due += interval;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.send(due).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(pace)
        .context("cannot start a thread")?;
    Ok(receiver)
}
