//! The receiving half of a connection: a window of bytes that were read and not yet used.

use std::io;

use tokio::net::TcpStream;

use super::buffer::{BUFFER_SIZE, BufferPool};

/// Bytes between the socket and the parser. Holds a buffer only while there are bytes in it.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// How much of the buffer has been used.
    start: usize,
}

impl Reader {
    /// Bytes that are here.
    pub(crate) fn available(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Marks bytes as used; more than there are counts as all.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.buffer.len() {
            self.start = 0;
            self.buffer.clear();
        }
    }

    /// Gives the buffer back when it is empty.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() && self.buffer.capacity() > 0 {
            pool.give(std::mem::take(&mut self.buffer));
        }
    }

    /// Waits for more bytes; 0 means the peer has ended its half. While it waits and is empty it holds no buffer.
    pub(crate) async fn fill(
        &mut self,
        stream: &TcpStream,
        pool: &BufferPool,
    ) -> io::Result<usize> {
        loop {
            if self.is_empty() {
                self.release(pool);
            }
            super::readable(stream).await?;
            match self.try_fill(stream, pool) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Reads what is there without waiting.
    pub(crate) fn try_fill(&mut self, stream: &TcpStream, pool: &BufferPool) -> io::Result<usize> {
        self.make_room(pool);
        super::read_some(stream, &mut self.buffer)
    }

    /// Makes room behind the window: by moving it to the front, then by growing.
    fn make_room(&mut self, pool: &BufferPool) {
        if self.buffer.capacity() == 0 {
            self.buffer = pool.take();
        }
        if self.buffer.len() < self.buffer.capacity() {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        } else {
            self.buffer.reserve_exact(BUFFER_SIZE);
        }
    }
}
