//! Buffers that are lent while a message is in flight: an idle connection holds none (contracts.md §9.7).

use std::cell::RefCell;

/// Size of a lent buffer.
pub(crate) const BUFFER_SIZE: usize = 16 * 1024;
/// Buffers a worker keeps for the next message; more are given back to the allocator.
const MAX_FREE: usize = 128;

/// One worker's free list. Not shared between threads.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty buffer with room for `BUFFER_SIZE` bytes.
    pub(crate) fn take(&self) -> Vec<u8> {
        let lent = self.free.borrow_mut().pop();
        lent.unwrap_or_else(|| Vec::with_capacity(BUFFER_SIZE))
    }

    /// Takes a buffer back. One that has grown is dropped, or bursts would be kept for ever.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if buffer.capacity() == BUFFER_SIZE && free.len() < MAX_FREE {
            buffer.clear();
            free.push(buffer);
        }
    }
}
