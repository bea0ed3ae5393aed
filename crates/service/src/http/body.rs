//! Response bodies. A scrape is pulled by the connection: the next part is rendered (and compressed) only when the
//! previous bytes have gone, so a slow reader costs one part's memory, not the whole exposition's.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Frame, SizeHint};

use crate::metrics::Exposition;

/// Bytes of one frame of a scrape.
const FRAME: usize = 64 * 1024;

/// A response body.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Scrape(Box<Scrape>),
}

struct Scrape {
    exposition: Exposition,
    /// Next part of the exposition.
    part: usize,
    /// Text of the current part and how much of it has been given away.
    text: Vec<u8>,
    taken: usize,
    /// `None` when plain, or once the trailer has been written.
    gzip: Option<GzEncoder<Vec<u8>>>,
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
            exposition,
            part: 0,
            text: Vec::new(),
            taken: 0,
            gzip,
        })))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.0 {
            Kind::Whole(bytes) => bytes.take(),
            Kind::Scrape(scrape) => scrape.next(),
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
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.taken == self.text.len() {
                self.text.clear();
                self.taken = 0;
                if !self.exposition.render(self.part, &mut self.text) {
                    return self.finish();
                }
                self.part += 1;
            }
            let end = self.text.len().min(self.taken + FRAME);
            let piece = self.text.get(self.taken..end).unwrap_or_default();
            self.taken = end;
            let out = match &mut self.gzip {
                None => Bytes::copy_from_slice(piece),
                Some(encoder) => {
                    if encoder.write_all(piece).is_err() {
                        return None; // writing into a Vec does not fail
                    }
                    Bytes::from(std::mem::take(encoder.get_mut()))
                }
            };
            if !out.is_empty() {
                return Some(out);
            }
        }
    }

    fn finish(&mut self) -> Option<Bytes> {
        let rest = self.gzip.take()?.finish().ok()?;
        (!rest.is_empty()).then(|| Bytes::from(rest))
    }
}
