//! Moves a body to an HTTP/1 writer: small pieces are gathered, large ones go out without a copy, nothing waits unflushed.
//!
//! One pump serves requests and responses. It may be dropped at any await and run again: what it has framed is in the
//! writer, what it has not is in the body, and the rest of a chunk that was announced is in `owed`.

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;

use tokio::net::TcpStream;
use tokio::time::Instant;
use weft_h1::Framing;

use super::body::{Body, Broken, Chunk};
use super::replay::RequestBody;
use crate::net::buffer::{BUFFER_SIZE, BufferPool};
use crate::net::writer::Writer;

/// Pieces up to this size are copied behind what is pending, to save a system call.
const GATHER: usize = 4 * 1024;

/// Why a pump stopped before the end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The source broke: its bytes are no body, or they ended too early.
    Source,
    /// The sink cannot be written.
    Sink,
}

/// Where the bytes go: a connection's stream, its writer, and the buffers of the worker.
pub(crate) struct Sink<'a> {
    /// Socket.
    pub(crate) stream: &'a TcpStream,
    /// Pending output.
    pub(crate) writer: &'a mut Writer,
    /// Buffers.
    pub(crate) pool: &'a BufferPool,
}

/// A body that can be pumped.
pub(crate) trait Source {
    /// See `Body::ready`.
    fn ready(&mut self) -> Result<Chunk<'_>, Broken>;
    /// See `Body::more`.
    async fn more(&mut self) -> Result<(), Broken>;
    /// See `Body::consume`.
    fn consume(&mut self, count: usize);
}

impl Source for Body<'_> {
    fn ready(&mut self) -> Result<Chunk<'_>, Broken> {
        Body::ready(self)
    }
    async fn more(&mut self) -> Result<(), Broken> {
        Body::more(self).await
    }
    fn consume(&mut self, count: usize) {
        Body::consume(self, count);
    }
}

impl Source for RequestBody<'_> {
    fn ready(&mut self) -> Result<Chunk<'_>, Broken> {
        RequestBody::ready(self)
    }
    async fn more(&mut self) -> Result<(), Broken> {
        RequestBody::more(self).await
    }
    fn consume(&mut self, count: usize) {
        RequestBody::consume(self, count);
    }
}

/// The state of one body's way out.
pub(crate) struct Pump {
    framing: Framing,
    /// Content bytes of the announced chunk that were not written yet (chunked only).
    owed: usize,
    /// Whether the end has been framed.
    ended: bool,
    /// Content bytes written or gathered.
    sent: u64,
}

impl Pump {
    /// A pump that frames content as `framing` says; the head must have been written with the same.
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            owed: 0,
            ended: false,
            sent: 0,
        }
    }

    /// Content bytes that went out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether everything, with the end of the message, has been handed to the socket.
    pub(crate) fn is_done(&self, writer: &Writer) -> bool {
        self.ended && writer.pending() == 0
    }

    /// Moves bytes until the message is complete. `moved` is set to the time of the last progress.
    pub(crate) async fn run<S: Source>(
        &mut self,
        source: &mut S,
        sink: &mut Sink<'_>,
        moved: &Cell<Instant>,
    ) -> Result<(), Stopped> {
        while !self.ended {
            match source.ready().map_err(|_| Stopped::Source)? {
                Chunk::Data(data) => {
                    let count = self.send(data, sink).await.map_err(|_| Stopped::Sink)?;
                    source.consume(count);
                    moved.set(Instant::now());
                    // A pair that is always ready must not keep the worker from everybody else.
                    tokio::task::coop::consume_budget().await;
                }
                Chunk::End(trailers) => {
                    if self.framing == Framing::Chunked {
                        weft_h1::write_last_chunk(sink.writer.out(sink.pool), trailers);
                    }
                    self.ended = true;
                }
                Chunk::Wait => {
                    sink.writer
                        .flush(sink.stream, sink.pool)
                        .await
                        .map_err(|_| Stopped::Sink)?;
                    source.more().await.map_err(|_| Stopped::Source)?;
                }
            }
        }
        sink.writer
            .flush(sink.stream, sink.pool)
            .await
            .map_err(|_| Stopped::Sink)
    }

    /// Sends some of `data`; returns how much may be consumed.
    async fn send(&mut self, data: &[u8], sink: &mut Sink<'_>) -> io::Result<usize> {
        let chunked = self.framing == Framing::Chunked;
        let pool = sink.pool;
        if self.owed == 0
            && data.len() <= GATHER
            && sink.writer.pending() + data.len() + 32 <= BUFFER_SIZE
        {
            let out = sink.writer.out(pool);
            if chunked && let Some(size) = NonZeroUsize::new(data.len()) {
                weft_h1::write_chunk_size(out, size);
            }
            out.extend_from_slice(data);
            if chunked {
                out.extend_from_slice(weft_h1::CHUNK_END);
            }
            self.sent += data.len() as u64;
            return Ok(data.len());
        }
        if chunked
            && self.owed == 0
            && let Some(size) = NonZeroUsize::new(data.len())
        {
            weft_h1::write_chunk_size(sink.writer.out(pool), size);
            self.owed = data.len();
        }
        let piece = if chunked {
            data.get(..self.owed).unwrap_or(data)
        } else {
            data
        };
        let count = sink.writer.write_with(sink.stream, pool, piece).await?;
        self.sent += count as u64;
        if chunked {
            self.owed -= count.min(self.owed);
            if self.owed == 0 {
                sink.writer.out(pool).extend_from_slice(weft_h1::CHUNK_END);
            }
        }
        Ok(count)
    }
}
