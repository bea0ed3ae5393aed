//! Our Unix sockets (SOCK_SEQPACKET) on the runtime: whole messages with their descriptors, and peers that are root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use weft_netns::{
    PeerCredentials, peer_credentials, recv_with_fds, send_with_fds, seqpacket_accept,
    seqpacket_listen,
};

/// Pause after a failed accept (no descriptor free), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket in the run directory.
pub(crate) struct Listener {
    io: AsyncFd<OwnedFd>,
}

impl Listener {
    /// Listens for root only.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self {
            io: watched(seqpacket_listen(path)?, Interest::READABLE)?,
        })
    }

    /// The next peer that is root; everybody else is turned away, and no failure ends the loop.
    pub(crate) async fn accept(&self) -> (Packets, PeerCredentials) {
        loop {
            match self.accept_one().await {
                Ok((packets, peer)) if peer.uid == 0 => return (packets, peer),
                Ok((_, peer)) => {
                    tracing::warn!(
                        uid = peer.uid,
                        pid = peer.pid,
                        "turned away: only root may connect"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept_one(&self) -> io::Result<(Packets, PeerCredentials)> {
        let fd = self
            .io
            .async_io(Interest::READABLE, |fd| seqpacket_accept(fd.as_fd()))
            .await?;
        let peer = peer_credentials(fd.as_fd())?;
        Ok((
            Packets {
                io: watched(fd, Interest::READABLE | Interest::WRITABLE)?,
            },
            peer,
        ))
    }
}

/// A connection.
pub(crate) struct Packets {
    io: AsyncFd<OwnedFd>,
}

impl Packets {
    /// The next message with its descriptors; `None` when the peer is gone. Cancelling loses nothing.
    pub(crate) async fn recv(&self, limit: usize) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; limit];
        let received = self
            .io
            .async_io(Interest::READABLE, |fd| {
                recv_with_fds(fd.as_fd(), &mut buffer)
            })
            .await;
        match received {
            Ok((0, _)) => Ok(None),
            Ok((length, fds)) => {
                buffer.truncate(length);
                Ok(Some((buffer, fds)))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one message with copies of `fds`.
    pub(crate) async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.io
            .async_io(Interest::WRITABLE, |fd| {
                send_with_fds(fd.as_fd(), bytes, fds)
            })
            .await
    }
}

/// Registers a descriptor that we own with the runtime.
#[allow(
    deprecated,
    reason = "the successor is unsafe, because other types may close their descriptor early; `OwnedFd` does not"
)]
fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
