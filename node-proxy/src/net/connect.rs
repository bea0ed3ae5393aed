//! Opening upstream connections inside a pod's network namespace (contracts.md §1).

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use weft_netns::{Netns, Role};

/// How the upstream sees us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum From {
    /// From the pod's own address, out to the wire.
    Pod,
    /// From the client's address, to the app in the same namespace.
    Client(IpAddr),
}

/// Connects to `to` from inside `netns`. The caller limits the time.
pub(crate) async fn connect(netns: &Netns, to: SocketAddr, from: From) -> io::Result<TcpStream> {
    let role = match from {
        From::Pod => Role::ToWire,
        From::Client(source) => Role::ToApp { source },
    };
    let socket = weft_netns::connect_upstream(netns, to, &role)?;
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    stream.writable().await?;
    match stream.take_error()? {
        None => {
            super::prepare(&stream);
            Ok(stream)
        }
        Some(error) => Err(error),
    }
}
