//! One timer per connection, armed lazily: a request that ends in time costs no timer operation (contracts.md §9.5).
//!
//! The deadline may be moved at any time, also by a future that is being guarded. Moving it later costs a store; moving it
//! before the armed time re-arms the timer. A timer that fires early only re-arms itself.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Far enough to mean "no deadline" and near enough for the timer wheel.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The guarded future ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// A movable deadline with its own timer.
pub(crate) struct Deadline {
    at: Cell<Instant>,
    timer: RefCell<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// No deadline yet.
    pub(crate) fn new() -> Self {
        let never = Instant::now() + NEVER;
        Self {
            at: Cell::new(never),
            timer: RefCell::new(Box::pin(sleep_until(never))),
        }
    }

    /// Moves the deadline.
    pub(crate) fn set(&self, at: Instant) {
        self.at.set(at);
        let mut timer = self.timer.borrow_mut();
        if at < timer.deadline() {
            timer.as_mut().reset(at);
        }
    }

    /// Moves the deadline to `after` from now.
    pub(crate) fn set_after(&self, after: Duration) {
        self.set(Instant::now() + after);
    }

    /// Removes the deadline.
    pub(crate) fn clear(&self) {
        self.at.set(Instant::now() + NEVER);
    }

    /// When it is.
    pub(crate) fn at(&self) -> Instant {
        self.at.get()
    }

    /// Runs `future` until it is done or the deadline has passed, whichever comes first. It is borrowed: a future that is
    /// moved into another one counts twice in the size of every connection's task.
    pub(crate) async fn guard<F: Future>(
        &self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Elapsed> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_elapsed(context).map(Err),
        })
        .await
    }

    fn poll_elapsed(&self, context: &mut Context<'_>) -> Poll<Elapsed> {
        let mut timer = self.timer.borrow_mut();
        while timer.as_mut().poll(context).is_ready() {
            let at = self.at.get();
            if at <= timer.deadline() {
                return Poll::Ready(Elapsed);
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_later_is_honoured() {
        let deadline = Deadline::new();
        deadline.set_after(Duration::from_secs(1));
        let start = Instant::now();
        let moved = async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            deadline.set_after(Duration::from_secs(1));
            std::future::pending::<()>().await;
        };
        assert_eq!(deadline.guard(pin!(moved)).await, Err(Elapsed));
        assert_eq!(start.elapsed(), Duration::from_millis(1900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_earlier_is_honoured() {
        let deadline = Deadline::new();
        deadline.set_after(Duration::from_secs(60));
        let start = Instant::now();
        let moved = async {
            deadline.set_after(Duration::from_millis(5));
            std::future::pending::<()>().await;
        };
        assert_eq!(deadline.guard(pin!(moved)).await, Err(Elapsed));
        assert_eq!(start.elapsed(), Duration::from_millis(5));
    }
}
