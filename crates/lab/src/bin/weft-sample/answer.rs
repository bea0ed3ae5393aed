//! Bodies and simple answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::time::Sleep;

/// Largest piece of a generated body.
const PIECE: u64 = 16 * 1024;
static ZEROS: [u8; PIECE as usize] = [b'x'; PIECE as usize];

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

pub(crate) fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static(kind));
    response
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    of(status, "application/json", value.to_string() + "\n")
}

pub(crate) fn text(status: StatusCode, words: &str) -> Answer {
    of(status, "text/plain", words.to_owned() + "\n")
}

/// A body of `length` bytes, never in memory as a whole.
pub(crate) struct Filler(pub(crate) u64);

impl Body for Filler {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let length = self.0.min(PIECE);
        if length == 0 {
            return Poll::Ready(None);
        }
        self.0 -= length;
        let piece = ZEROS
            .get(..usize::try_from(length).unwrap_or(0))
            .unwrap_or_default();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// Server-sent events: `count` of them, one every `period`, then a trailer that tells the count.
pub(crate) struct Events {
    next: u64,
    count: u64,
    period: Duration,
    sleep: Pin<Box<Sleep>>,
    trailer_sent: bool,
}

impl Events {
    pub(crate) fn new(count: u64, period: Duration) -> Self {
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self {
            next: 0,
            count,
            period,
            sleep,
            trailer_sent: false,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.trailer_sent {
            return Poll::Ready(None);
        }
        if self.next == self.count {
            self.trailer_sent = true;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-events", self.count.into());
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if self.sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let deadline = tokio::time::Instant::now() + self.period;
        self.sleep.as_mut().reset(deadline);
        self.next += 1;
        let event = format!("data: {}\n\n", self.next);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}
