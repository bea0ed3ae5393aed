//! The byte pump of opaque connections: both directions in one task, each half closed when its source ends.
//!
//! Guarantees: bytes arrive in order and whole, an end is passed on as an end and a reset as a reset, and at most one
//! buffer per direction is held, only while bytes are in flight: a stalled reader costs that and no more.

use std::io;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::buffer::{BUFFER_SIZE, BufferPool};
use super::reset_on_close;

/// Largest buffer of a direction that keeps filling it, and what a stalled direction costs at most: 500 stalled
/// connections stay below 64 MiB even when both directions of each stall (hardening part 4, row 12).
const MAX_BUFFER: usize = 64 * 1024;
/// Full buffers in a row before a direction's buffer grows.
const GROW_AFTER: u32 = 2;

/// Told about every chunk that was delivered: bytes from client to server, bytes from server to client.
pub(crate) type Progress<'a> = &'a dyn Fn(u64, u64);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both sides said so.
    Orderly,
    /// The client reset, or could not be written to.
    ByClient,
    /// The server reset, or could not be written to.
    ByServer,
}

/// Which side an error came from.
enum Fault {
    Source,
    Sink,
}

/// Copies until both halves have ended or one side fails; then both sockets are told.
pub(crate) async fn copy(
    client: &TcpStream,
    server: &TcpStream,
    pool: &BufferPool,
    progress: Progress<'_>,
) -> Ended {
    let up = half(client, server, pool, |count| progress(count, 0));
    let down = half(server, client, pool, |count| progress(0, count));
    let ended = tokio::try_join!(
        async {
            up.await.map_err(|fault| {
                if matches!(fault, Fault::Source) {
                    Ended::ByClient
                } else {
                    Ended::ByServer
                }
            })
        },
        async {
            down.await.map_err(|fault| {
                if matches!(fault, Fault::Source) {
                    Ended::ByServer
                } else {
                    Ended::ByClient
                }
            })
        },
    );
    match ended {
        Ok(_) => Ended::Orderly,
        Err(by) => {
            reset_on_close(client);
            reset_on_close(server);
            by
        }
    }
}

async fn half(
    from: &TcpStream,
    to: &TcpStream,
    pool: &BufferPool,
    progress: impl Fn(u64),
) -> Result<(), Fault> {
    let mut size = BUFFER_SIZE;
    let mut full = 0;
    loop {
        super::readable(from).await.map_err(|_| Fault::Source)?;
        let mut buffer = if size == BUFFER_SIZE {
            pool.take()
        } else {
            Vec::with_capacity(size)
        };
        // The buffer is lent until the source has nothing more.
        loop {
            buffer.clear();
            match super::read_some(from, &mut buffer) {
                Ok(0) => {
                    pool.give(buffer);
                    // The peer may be gone already; then its own half reports it.
                    let _ = SockRef::from(to).shutdown(Shutdown::Write);
                    return Ok(());
                }
                Ok(count) => {
                    write_all(to, &buffer).await?;
                    // A pair that is always ready must not keep the worker from everybody else.
                    tokio::task::coop::consume_budget().await;
                    progress(count as u64);
                    (size, full) = next_size(size, full, count == buffer.capacity());
                    if size > buffer.capacity() {
                        pool.give(std::mem::replace(&mut buffer, Vec::with_capacity(size)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(Fault::Source),
            }
        }
        pool.give(buffer);
    }
}

/// A direction that fills its buffer again and again gets a larger one; one that does not gets the small one back.
fn next_size(size: usize, full: u32, filled: bool) -> (usize, u32) {
    match (filled, full + 1 >= GROW_AFTER) {
        (true, true) => ((size * 4).min(MAX_BUFFER), 0),
        (true, false) => (size, full + 1),
        // A reader that drains faster than the peer sends needs no more than the small buffer.
        (false, _) => (if size > BUFFER_SIZE { size / 2 } else { size }, 0),
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> Result<(), Fault> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                to.writable().await.map_err(|_| Fault::Sink)?
            }
            Err(_) => return Err(Fault::Sink),
        }
    }
    Ok(())
}
