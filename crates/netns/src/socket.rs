//! The sockets of a captured pod: its listeners, where a redirected connection wanted to go, and the proxy's own
//! connections with the marks that keep them out of the redirection.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::Netns;

/// Mark of the proxy's packets to the wire (the packet rules exempt 0x5e0/0xff0 from redirection).
pub const MARK_TO_WIRE: u32 = 0x5e7;
/// Mark of the proxy's packets to the pod's own app; it also selects the route over loopback.
pub const MARK_TO_APP: u32 = 0x5e8;

/// Above the range that Linux gives to clients by default (32768 to 60999).
const UNUSUAL_PORTS: RangeInclusive<u16> = 61000..=65535;

/// How many of them are tried before the kernel chooses from its own range.
const PORT_TRIES: usize = 3;

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

/// Makes a TCP socket inside `ns` and begins to connect it to `dest`: marked for its role, without Nagle's delay, for
/// [`Role::ToApp`] from the client's address. Nonblocking and close-on-exec. The connection stands when the socket is
/// writable and `SO_ERROR` is 0.
///
/// A client that was connected to the app before the pod was captured (or is excluded from capture) still holds a port
/// of its own address. Were the kernel to choose the same for us, the app's kernel would take our first packet for part
/// of that connection and the connect would hang. So ports that clients are not given by default come first.
///
/// # Errors
/// Those of [`upstream_socket`], and connect's own when it fails at once (`NetworkUnreachable` for instance).
pub fn connect_upstream(ns: &Netns, dest: SocketAddr, role: &Role) -> io::Result<OwnedFd> {
    let dest = canonical(dest);
    if let Role::ToApp { source } = *role {
        for _ in 0..PORT_TRIES {
            let socket = prepared(ns, dest, role)?;
            // Two of our connections may share a port if their destinations differ.
            socket.set_reuse_address(true)?;
            let own = SocketAddr::new(source.to_canonical(), unusual_port());
            match socket.bind(&own.into()).and_then(|()| begin(&socket, dest)) {
                Ok(()) => return Ok(socket.into()),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                    ) => {}
                Err(e) => return Err(e),
            }
        }
    }
    let socket = Socket::from(upstream_socket(ns, dest, role)?);
    begin(&socket, dest)?;
    Ok(socket.into())
}

/// Makes the socket of [`connect_upstream`] without connecting it; the port is the kernel's choice at connect time.
///
/// # Errors
/// `InvalidInput` when source and destination are of different families; `PermissionDenied` without `CAP_NET_ADMIN`;
/// `Unsupported` when the pod's kernel has no IPv6.
pub fn upstream_socket(ns: &Netns, dest: SocketAddr, role: &Role) -> io::Result<OwnedFd> {
    let socket = prepared(ns, canonical(dest), role)?;
    if let Role::ToApp { source } = *role {
        bind_without_port(&socket)?;
        socket.bind(&SocketAddr::new(source.to_canonical(), 0).into())?;
    }
    Ok(socket.into())
}

/// The socket with all that its role needs but an address.
fn prepared(ns: &Netns, dest: SocketAddr, role: &Role) -> io::Result<Socket> {
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
        }
    }
    Ok(socket)
}

fn begin(socket: &Socket, dest: SocketAddr) -> io::Result<()> {
    match socket.connect(&dest.into()) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(()),
    }
}

/// Any of [`UNUSUAL_PORTS`]. The standard library's hash keys are random enough, and cost no system call.
fn unusual_port() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    let span = u64::from(UNUSUAL_PORTS.end() - UNUSUAL_PORTS.start()) + 1;
    UNUSUAL_PORTS.start() + (random % span) as u16
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
