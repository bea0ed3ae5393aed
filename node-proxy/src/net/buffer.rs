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
    /// A buffer of `BUFFER_SIZE` initialised bytes, with stale contents.
    pub(crate) fn take(&self) -> Vec<u8> {
        let lent = self.free.borrow_mut().pop();
        lent.unwrap_or_else(|| vec![0; BUFFER_SIZE])
    }

    /// Takes a buffer back. One that has grown is dropped, or bursts would be kept for ever.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if buffer.capacity() == BUFFER_SIZE && free.len() < MAX_FREE {
            buffer.resize(BUFFER_SIZE, 0);
            free.push(buffer);
        }
    }
}
