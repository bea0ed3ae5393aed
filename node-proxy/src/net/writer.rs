//! The sending half of a connection: bytes that wait to be written, and writes that never copy what need not be copied.
//!
//! All progress is kept in the writer, so that any of its futures may be dropped and started again (a retry, an early
//! response) without losing or repeating a byte.

use std::io::{self, IoSlice};

use tokio::net::TcpStream;

use super::buffer::BufferPool;

/// Pending output. Holds a buffer only while bytes wait.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    sent: usize,
}

impl Writer {
    /// The buffer to append heads and framing to.
    pub(crate) fn out(&mut self, pool: &BufferPool) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = pool.take();
        }
        &mut self.out
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Writes all pending bytes.
    pub(crate) async fn flush(&mut self, stream: &TcpStream, pool: &BufferPool) -> io::Result<()> {
        while self.pending() > 0 {
            match stream.try_write(self.out.get(self.sent..).unwrap_or_default()) {
                Ok(count) => self.advance(count, pool),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.writable().await?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes pending bytes and then some of `data` in one call; returns how much of `data` went out (0 is possible).
    pub(crate) async fn write_with(
        &mut self,
        stream: &TcpStream,
        pool: &BufferPool,
        data: &[u8],
    ) -> io::Result<usize> {
        loop {
            let head = self.out.get(self.sent..).unwrap_or_default();
            let written = if head.is_empty() {
                stream.try_write(data)
            } else {
                stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(data)])
            };
            match written {
                Ok(count) => {
                    let of_head = count.min(head.len());
                    let of_data = count - of_head;
                    if of_head > 0 {
                        self.advance(of_head, pool);
                    }
                    return Ok(of_data);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.writable().await?
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets what was not written.
    pub(crate) fn discard(&mut self, pool: &BufferPool) {
        self.sent = 0;
        self.out.clear();
        self.release(pool);
    }

    fn advance(&mut self, count: usize, pool: &BufferPool) {
        self.sent += count;
        if self.sent >= self.out.len() {
            self.discard(pool);
        }
    }

    fn release(&mut self, pool: &BufferPool) {
        if self.out.capacity() > 0 {
            pool.give(std::mem::take(&mut self.out));
        }
    }
}
