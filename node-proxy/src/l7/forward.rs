//! The answer's way to the client, while the rest of the request may still go the other way.
//!
//! Ends when the answer is complete: an endpoint that answers early does not have to read the whole request. A body that
//! breaks, or on which nothing moves for too long, ends the client's connection with a reset, never as if it were whole.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Duration, Instant};
use weft_model::reason::Reason;

use super::body::Body;
use super::pump::{Pump, Sink, Stopped};
use super::replay::RequestBody;
use crate::config::STREAM_IDLE_TIMEOUT;
use crate::net::deadline::{Deadline, Elapsed};
use crate::net::reset_by_peer;

/// The request's half of an exchange: its body, how far it is, and where it goes.
pub(crate) struct Upward<'a, 'c> {
    pub(crate) body: &'a mut RequestBody<'c>,
    pub(crate) pump: &'a mut Pump,
    pub(crate) sink: Sink<'a>,
}

/// The answer's half.
pub(crate) struct Downward<'a, 'c> {
    pub(crate) body: &'a mut Body<'c>,
    pub(crate) pump: &'a mut Pump,
    pub(crate) sink: Sink<'a>,
}

/// Moves both halves until the answer has gone out whole.
pub(crate) async fn forward(
    mut up: Upward<'_, '_>,
    mut down: Downward<'_, '_>,
    deadline: &Deadline,
    moved: &Cell<Instant>,
    until: Option<Instant>,
) -> Result<(), Reason> {
    let mut gone = pin!(reset_by_peer(down.sink.stream));
    let mut sending = pin!(up.pump.run(up.body, &mut up.sink, moved));
    let mut receiving = pin!(down.pump.run(down.body, &mut down.sink, moved));
    let mut sent = false;
    let both = poll_fn(|context| {
        if !sent && let Poll::Ready(result) = sending.as_mut().poll(context) {
            sent = true;
            if let Err(Stopped::Source) = result {
                return Poll::Ready(Err(Reason::ClientGone));
            }
        }
        match receiving.as_mut().poll(context) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(Stopped::Source)) => Poll::Ready(Err(Reason::UpstreamReset)),
            Poll::Ready(Err(Stopped::Sink)) => Poll::Ready(Err(Reason::ClientGone)),
            Poll::Pending => gone
                .as_mut()
                .poll(context)
                .map(|()| Err(Reason::ClientGone)),
        }
    });
    while_moving(deadline, moved, until, STREAM_IDLE_TIMEOUT, both).await
}

/// Runs `future` for as long as bytes move, at most until `until`.
pub(crate) async fn while_moving<T>(
    deadline: &Deadline,
    moved: &Cell<Instant>,
    until: Option<Instant>,
    idle: Duration,
    future: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    let mut future = pin!(future);
    loop {
        let stalled = moved.get() + idle;
        deadline.set(until.map_or(stalled, |until| until.min(stalled)));
        match deadline.guard(future.as_mut()).await {
            Ok(result) => return result,
            Err(Elapsed) if until.is_some_and(|until| until <= deadline.at()) => {
                return Err(Reason::RouteTimeout);
            }
            Err(Elapsed) if moved.get() + idle <= deadline.at() => return Err(Reason::Idle),
            Err(Elapsed) => {}
        }
    }
}
