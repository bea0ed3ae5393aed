//! A TCP connection that begins in a given network namespace and is used from this process: for the kernel, and so for
//! packet rules and for the mesh, it is the pod's own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use weft_netns::Netns;

/// Longest wait for a connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Connects from inside `ns`.
///
/// # Errors
/// Those of connect(2); `TimedOut` after [`CONNECT_DEADLINE`]. The address is in the message.
pub async fn connect(ns: &Netns, address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket =
        ns.run(|| Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP)))??;
    socket.set_tcp_nodelay(true)?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(address);
    match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(io::Error::new(e.kind(), format!("{address}: {e}"))),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{address}: no connection within {CONNECT_DEADLINE:?}"),
        )),
    }
}
