//! Response bodies. A scrape is pulled by the connection: the next piece is rendered (and compressed) only when the
//! previous bytes have gone, so a slow reader costs one piece's memory, not the whole exposition's.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Frame, SizeHint};

use crate::metrics::{Exposition, Pieces, Running};

/// Bytes of text that are rendered before the next look at the connection, and with gzip before other tasks get a
/// turn: a big node's scrape takes more than a second of the thread in all.
const FRAME: usize = 64 * 1024;

/// A response body.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Scrape(Box<Scrape>),
}

struct Scrape {
    running: Running,
    /// What has been rendered and not yet given away.
    text: Vec<u8>,
    /// `None` when plain, or once the trailer has been written.
    gzip: Option<GzEncoder<Vec<u8>>>,
    ended: bool,
}

impl Body {
    /// A body that is known.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Some(bytes)))
    }

    /// A body that is rendered while it is sent.
    pub(super) fn scrape(exposition: Exposition, gzip: bool) -> Self {
        // Level 1: a scrape is repetitive text, higher levels cost several times the CPU for a few percent.
        let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self(Kind::Scrape(Box::new(Scrape {
            running: exposition.begin(),
            text: Vec::with_capacity(FRAME),
            gzip,
            ended: false,
        })))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.0 {
            Kind::Whole(bytes) => bytes.take(),
            Kind::Scrape(scrape) => match scrape.next() {
                // Compressed into bytes that gzip still holds back.
                Some(bytes) if bytes.is_empty() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                bytes => bytes,
            },
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Scrape(_) => SizeHint::default(),
        }
    }
}

impl Scrape {
    /// The next bytes, perhaps none yet; `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        while !self.ended && self.text.len() < FRAME {
            self.ended = !self.running.next_piece(&mut self.text);
        }
        if self.text.is_empty() {
            let rest = self.gzip.take()?.finish().ok()?;
            return (!rest.is_empty()).then(|| Bytes::from(rest));
        }
        let Some(encoder) = &mut self.gzip else {
            let room = Vec::with_capacity(FRAME);
            return Some(Bytes::from(std::mem::replace(&mut self.text, room)));
        };
        encoder.write_all(&self.text).ok()?; // writing into a Vec does not fail
        self.text.clear();
        Some(Bytes::from(std::mem::take(encoder.get_mut())))
    }
}
