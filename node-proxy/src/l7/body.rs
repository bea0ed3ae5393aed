//! A message body on its way: lent in place, never collected.
//!
//! `ready` looks at what is already here, `more` waits; between the two a writer flushes, so that nothing is held back
//! while we wait. All progress lives in the body, therefore every future over it may be dropped.

use std::io;

use http::HeaderMap;
use tokio::net::TcpStream;
use weft_h1::{BodyDecoder, BodyError, Decoded, Framing, Limits};

use crate::net::buffer::BufferPool;
use crate::net::reader::Reader;

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The peer's bytes are not a body, or it closed too early.
    #[error("{0}")]
    Framing(#[from] BodyError),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What a body has right now.
pub(crate) enum Chunk<'a> {
    /// These bytes, at least one. They stay until `consume`.
    Data(&'a [u8]),
    /// Nothing more will come.
    End(Option<&'a HeaderMap>),
    /// `more` must be awaited.
    Wait,
}

/// A body of any origin. HTTP/2 adds its variant here.
pub(crate) enum Body<'c> {
    /// None.
    Empty,
    /// From an HTTP/1 connection.
    H1(Incoming<'c>),
}

impl<'c> Body<'c> {
    /// The body that follows a head on `stream`, as `framing` says.
    pub(crate) fn after_head(
        stream: &'c TcpStream,
        reader: &'c mut Reader,
        pool: &'c BufferPool,
        framing: Framing,
        limits: &Limits,
    ) -> Self {
        match framing {
            Framing::None => Self::Empty,
            framing => Self::H1(Incoming {
                stream,
                reader,
                pool,
                decoder: BodyDecoder::new(framing, limits),
                data: 0,
                received: 0,
                ended: false,
                trailers: None,
            }),
        }
    }

    /// What can be had without waiting.
    pub(crate) fn ready(&mut self) -> Result<Chunk<'_>, Broken> {
        match self {
            Self::Empty => Ok(Chunk::End(None)),
            Self::H1(incoming) => incoming.ready(),
        }
    }

    /// Waits until `ready` has something new to say.
    pub(crate) async fn more(&mut self) -> Result<(), Broken> {
        match self {
            Self::Empty => Ok(()),
            Self::H1(incoming) => incoming.more().await,
        }
    }

    /// Marks bytes of the last chunk as used.
    pub(crate) fn consume(&mut self, count: usize) {
        match self {
            Self::Empty => {}
            Self::H1(incoming) => incoming.consume(count),
        }
    }

    /// Whether the whole body has been seen.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::H1(incoming) => incoming.ended,
        }
    }

    /// Bytes of content consumed so far.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::H1(incoming) => incoming.received,
        }
    }
}

/// The body of a message on an HTTP/1 connection.
pub(crate) struct Incoming<'c> {
    stream: &'c TcpStream,
    reader: &'c mut Reader,
    pool: &'c BufferPool,
    decoder: BodyDecoder,
    /// Bytes of content at the reader's front that were decoded and not yet consumed.
    data: usize,
    received: u64,
    ended: bool,
    trailers: Option<Box<HeaderMap>>,
}

impl Incoming<'_> {
    fn ready(&mut self) -> Result<Chunk<'_>, Broken> {
        while self.data == 0 && !self.ended {
            match self.decoder.decode(self.reader.available())? {
                Decoded::Data { skip, len } => {
                    self.reader.consume(skip);
                    self.data = len;
                }
                Decoded::NeedMore { consumed } => {
                    self.reader.consume(consumed);
                    return Ok(Chunk::Wait);
                }
                Decoded::End { consumed, trailers } => {
                    self.reader.consume(consumed);
                    self.ended = true;
                    self.trailers = trailers;
                }
            }
        }
        if self.data > 0 {
            return Ok(Chunk::Data(
                self.reader.available().get(..self.data).unwrap_or_default(),
            ));
        }
        Ok(Chunk::End(self.trailers.as_deref()))
    }

    async fn more(&mut self) -> Result<(), Broken> {
        if self.ended || self.data > 0 {
            return Ok(());
        }
        if self.reader.fill(self.stream, self.pool).await? == 0 {
            self.decoder.eof()?;
            self.ended = true;
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.data);
        self.reader.consume(count);
        self.data -= count;
        self.received += count as u64;
    }
}
