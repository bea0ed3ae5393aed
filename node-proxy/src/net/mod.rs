//! Bytes and sockets: everything below HTTP. Nothing here knows tables, routes or metrics.

pub(crate) mod buffer;
pub(crate) mod connect;
pub(crate) mod copy;
pub(crate) mod deadline;
pub(crate) mod reader;
pub(crate) mod writer;

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// First keep-alive probe after this much silence; a vanished peer is noticed by the kernel, not by a table of timers.
const KEEPALIVE_TIME: Duration = Duration::from_secs(180);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Options of every connection: no Nagle, and probes for peers that vanish without a word.
pub(crate) fn prepare(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    // Neither option can fail on a connected TCP socket in a way that matters: the kernel's defaults then hold.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    );
}

/// Reads what is there into the spare capacity of `buffer`, which must have some, without waiting.
///
/// A read that leaves room has emptied the socket (epoll(7), question 9). The runtime is told so: it would otherwise learn it
/// from another read, and a request's way is six system calls long without that one. Nothing is lost, because what comes
/// later raises a new event, which this thread has not seen yet.
pub(crate) fn read_some(stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let room = buffer.capacity() - buffer.len();
    let count = stream.try_read_buf(buffer)?;
    if count < room {
        let _: io::Result<()> =
            stream.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
    }
    Ok(count)
}

/// Waits until there may be something to read. For the one task that reads the stream: another that waits the same way would
/// take its place. It is a store where `TcpStream::readable` enters and leaves a list.
pub(crate) async fn readable(stream: &TcpStream) -> io::Result<()> {
    poll_fn(|context| stream.poll_read_ready(context)).await
}

/// Resolves when the peer has reset the connection. An orderly end does not count: a client may end its half and wait. For
/// the task that reads the stream.
pub(crate) async fn reset_by_peer(stream: &TcpStream) {
    // A reset is something to read too. Only where there is data, or the end, is it worth to ask for the reset alone.
    let _ = readable(stream).await;
    // It fails only when the runtime ends, and then everything does.
    let _ = stream.ready(Interest::ERROR).await;
}

/// Makes the coming close a reset, so that the peer sees a failure and not an orderly end.
pub(crate) fn reset_on_close(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
