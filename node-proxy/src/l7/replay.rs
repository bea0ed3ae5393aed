//! A request body that can be sent again: what went out is remembered up to a limit, for the next attempt.

use weft_model::retry::REPLAY_BYTES;

use super::body::{Body, Broken, Chunk};
use super::tee::Tee;

/// A request body with its memory.
pub(crate) struct RequestBody<'c> {
    source: Body<'c>,
    kept: Vec<u8>,
    /// How much of `kept` this attempt has sent.
    cursor: usize,
    /// Whether bytes are still remembered; false for good once the limit was passed or nobody may retry.
    remember: bool,
    /// Whether bytes went by that are not remembered.
    lost: bool,
    /// Who gets copies of it.
    tee: Option<Box<Tee>>,
}

impl<'c> RequestBody<'c> {
    /// A body of which up to `REPLAY_BYTES` are kept if `remember`.
    pub(crate) fn new(source: Body<'c>, remember: bool) -> Self {
        Self {
            source,
            kept: Vec::new(),
            cursor: 0,
            remember,
            lost: false,
            tee: None,
        }
    }

    /// The same body, of which `tee` gets a copy.
    pub(crate) fn teed(mut self, tee: Option<Box<Tee>>) -> Self {
        self.tee = tee;
        self
    }

    /// Whether the next attempt would send the same bytes.
    pub(crate) fn replayable(&self) -> bool {
        !self.lost
    }

    /// Starts over for the next attempt.
    pub(crate) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// See `Body::ready`.
    pub(crate) fn ready(&mut self) -> Result<Chunk<'_>, Broken> {
        if self.cursor < self.kept.len() {
            return Ok(Chunk::Data(
                self.kept.get(self.cursor..).unwrap_or_default(),
            ));
        }
        let chunk = self.source.ready()?;
        if let (Chunk::End(trailers), Some(tee)) = (&chunk, &mut self.tee) {
            tee.end(*trailers);
        }
        Ok(chunk)
    }

    /// See `Body::more`.
    pub(crate) async fn more(&mut self) -> Result<(), Broken> {
        if self.cursor < self.kept.len() {
            return Ok(());
        }
        self.source.more().await
    }

    /// See `Body::consume`.
    pub(crate) fn consume(&mut self, count: usize) {
        let replayed = count.min(self.kept.len() - self.cursor);
        if replayed > 0 {
            self.cursor += replayed;
            return;
        }
        if let Some(tee) = &mut self.tee
            && let Ok(Chunk::Data(bytes)) = self.source.ready()
        {
            tee.push(bytes.get(..count).unwrap_or(bytes));
        }
        if self.remember && self.kept.len() + count <= REPLAY_BYTES {
            if let Ok(Chunk::Data(bytes)) = self.source.ready() {
                self.kept
                    .extend_from_slice(bytes.get(..count).unwrap_or(bytes));
                self.cursor = self.kept.len();
            }
        } else if count > 0 {
            self.remember = false;
            self.lost = true;
            self.kept = Vec::new();
            self.cursor = 0;
        }
        self.source.consume(count);
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_done()
    }

    /// Bytes the client has sent.
    pub(crate) fn received(&self) -> u64 {
        self.source.received()
    }
}
