//! The sockets of a captured pod: its listeners, where a redirected connection wanted to go, and the proxy's own
//! connections with the marks that keep them out of the redirection.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::Netns;

/// Mark of the proxy's packets to the wire (the packet rules exempt 0x5e0/0xff0 from redirection).
pub const MARK_TO_WIRE: u32 = 0x5e7;
/// Mark of the proxy's packets to the pod's own app; it also selects the route over loopback.
pub const MARK_TO_APP: u32 = 0x5e8;

/// What an upstream connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Out of the pod to anywhere else, from the pod's own address.
    ToWire,
    /// To the pod's own app, over loopback, in the name of the client.
    ToApp {
        /// The client's address: the app sees it as its peer.
        source: IpAddr,
    },
}

/// Where a redirected connection was going before the packet rules turned it to us. Works on IPv4, IPv6 and dual-stack
/// sockets; an IPv4 destination is always a plain `V4` address.
///
/// # Errors
/// `NotFound` when the connection was not redirected (or conntrack has forgotten it): close it, never guess.
pub fn original_destination(fd: impl AsFd) -> io::Result<SocketAddr> {
    let socket = SockRef::from(&fd);
    let local = socket.local_addr()?.as_socket().ok_or_else(not_internet)?;
    let found = if canonical(local).is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    found?.as_socket().map(canonical).ok_or_else(not_internet)
}

/// Opens a listening socket inside `ns`: dual stack on `[::]` (IPv4 peers appear v4-mapped), or plain IPv4 when the pod
/// has no IPv6. Nonblocking, close-on-exec. Redirected connections need nothing more: REDIRECT rewrites the destination
/// to a local address, so no transparent option is set.
///
/// # Errors
/// `AddrInUse` when the pod's own application listens on that port; the message says so.
pub fn listen_in(ns: &Netns, port: u16, v6: bool, backlog: i32) -> io::Result<OwnedFd> {
    let address: SocketAddr = if v6 {
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    };
    let socket = tcp_socket(ns, address)?;
    if v6 {
        socket.set_only_v6(false)?;
    }
    // A port whose last connections are in TIME_WAIT may be bound again.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            let why = format!("port {port} is taken inside the pod: its application listens there, but the mesh needs it");
            io::Error::new(e.kind(), why)
        }
        kind => io::Error::new(kind, format!("cannot bind port {port} inside the pod: {e}")),
    })?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Makes a TCP socket inside `ns` that is ready to connect to `dest`: marked for its role, without Nagle's delay, for
/// [`Role::ToApp`] bound to the client's address with a port chosen at connect time. Nonblocking and close-on-exec; the
/// caller connects, and sees the kernel's choice of route and port there.
///
/// # Errors
/// `InvalidInput` when source and destination are of different families; `PermissionDenied` without `CAP_NET_ADMIN`;
/// `Unsupported` when the pod's kernel has no IPv6.
pub fn upstream_socket(ns: &Netns, dest: SocketAddr, role: &Role) -> io::Result<OwnedFd> {
    let dest = canonical(dest);
    let socket = tcp_socket(ns, dest)?;
    socket.set_tcp_nodelay(true)?;
    match *role {
        Role::ToWire => socket.set_mark(MARK_TO_WIRE)?,
        Role::ToApp { source } => {
            let source = source.to_canonical();
            if source.is_ipv4() != dest.is_ipv4() {
                let why = format!(
                    "client {source} and destination {dest} are of different address families"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            socket.set_mark(MARK_TO_APP)?;
            if source.is_ipv4() {
                socket.set_ip_transparent_v4(true)?;
            } else {
                socket.set_ip_transparent_v6(true)?;
            }
            bind_without_port(&socket)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
    }
    Ok(socket.into())
}

/// Lets `connect` choose the port by the whole four-tuple: `bind` alone would allow 28,000 connections in all, not per
/// destination. The option is of level IP for both families.
fn bind_without_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int by pointer and length, and `on` is one that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Only the making of the socket needs the namespace; all else about it can be done from anywhere.
fn tcp_socket(ns: &Netns, address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    ns.run(|| Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP)))?
}

/// An IPv4 address that wears IPv6 clothes becomes plain IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn not_internet() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "is not an IPv4 or IPv6 socket")
}
