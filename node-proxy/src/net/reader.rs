//! The receiving half of a connection: a window of bytes that were read and not yet used.

use std::io;

use tokio::net::TcpStream;

use super::buffer::{BUFFER_SIZE, BufferPool};

/// Bytes between the socket and the parser. Holds a buffer only while there are bytes in it.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Reader {
    /// Bytes that are here.
    pub(crate) fn available(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Marks bytes as used; more than there are counts as all.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
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
            stream.readable().await?;
            match self.try_fill(stream, pool) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Reads what is there without waiting.
    pub(crate) fn try_fill(&mut self, stream: &TcpStream, pool: &BufferPool) -> io::Result<usize> {
        self.reserve(pool, 1);
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = stream.try_read(room)?;
        self.end += count;
        Ok(count)
    }

    /// Makes room for at least `count` bytes behind the window: by moving it to the front, then by growing.
    fn reserve(&mut self, pool: &BufferPool, count: usize) {
        if self.buffer.is_empty() {
            self.buffer = pool.take();
        }
        if self.buffer.len() - self.end < count && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < count {
            let grown = self.buffer.len() + count.max(BUFFER_SIZE);
            self.buffer.resize(grown, 0);
        }
    }
}
