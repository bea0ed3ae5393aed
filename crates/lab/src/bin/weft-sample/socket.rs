//! The accept loop that both protocols share: an error of one connection never ends it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Rest after a failed accept (no descriptor is free), so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Largest datagram.
const MAX_DATAGRAM: usize = 65_535;

pub(crate) async fn accept_all<F>(listener: TcpListener, serve: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, peer));
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

pub(crate) async fn echo_datagrams(socket: UdpSocket) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let _ = socket
            .send_to(buffer.get(..length).unwrap_or_default(), peer)
            .await;
    }
}
