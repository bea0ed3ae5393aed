//! Accepting nodes with a budget: a peer that has not said Hello may hold one of few connections, for a few seconds. All
//! others are closed at once, so that neither a scan nor a thousand reconnecting nodes can starve the mesh of updates
//! (hardening V107).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// From the accept to Hello.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Connections that have not said Hello.
pub const MAX_STRANGERS: usize = 256;
/// Connections in all: two programs on each of five thousand nodes (Kubernetes' limit), and the same again for upgrades.
pub const MAX_CONNECTIONS: usize = 20_000;
/// Pause after a failed accept (descriptors exhausted), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Peers = BTreeMap<SocketAddr, Arc<AtomicBool>>;

/// Who is connected, and whether they have said Hello.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<Mutex<Peers>>);

impl Guests {
    /// The peer has said Hello: its connection may stay.
    pub fn greet(&self, peer: SocketAddr) {
        if let Some(greeted) = self.lock().get(&peer) {
            greeted.store(true, Ordering::Relaxed);
        }
    }

    fn admit(&self, peer: SocketAddr) -> Option<Arc<AtomicBool>> {
        let mut peers = self.lock();
        let strangers = peers
            .values()
            .filter(|greeted| !greeted.load(Ordering::Relaxed))
            .count();
        if strangers >= MAX_STRANGERS || peers.len() >= MAX_CONNECTIONS {
            return None;
        }
        let greeted = Arc::new(AtomicBool::new(false));
        peers.insert(peer, Arc::clone(&greeted));
        Some(greeted)
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        // A map of flags is whole whatever panicked while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Admitted connections, for tonic.
pub fn incoming(listener: TcpListener, guests: Guests) -> impl Stream<Item = io::Result<Guest>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a node's connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(greeted) = guests.admit(peer) else {
                tracing::debug!(%peer, "too many connections; closed");
                continue;
            };
            // Deltas are written whole; waiting for more would only delay the last segment.
            let _ = stream.set_nodelay(true);
            let deadline = Box::pin(sleep_until(Instant::now() + HELLO_DEADLINE));
            let guest = Guest {
                stream,
                peer,
                greeted,
                deadline: Some(deadline),
                guests: guests.clone(),
            };
            if sender.send(Ok(guest)).await.is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// One admitted connection.
pub struct Guest {
    stream: TcpStream,
    peer: SocketAddr,
    greeted: Arc<AtomicBool>,
    /// Gone once the peer has said Hello.
    deadline: Option<Pin<Box<Sleep>>>,
    guests: Guests,
}

impl Connected for Guest {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.lock().remove(&self.peer);
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            if !self.greeted.load(Ordering::Relaxed) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline = None;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
