//! Messages with file descriptors over SOCK_SEQPACKET: how the agent hands listeners and namespaces to a proxy.
//!
//! A message arrives whole with all of its descriptors, or not at all: what was cut short is an error, and whatever
//! descriptors did arrive are closed, so that a misbehaving peer cannot make us leak.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt,
    listen, socket, socketpair, sockopt,
};
use nix::sys::stat::{Mode, fchmod};

/// Most descriptors that one message may carry (the kernel's own limit is 253).
pub const MAX_FDS: usize = 64;

/// Connections that may wait to be accepted on a listening socket of ours; there are few peers.
const BACKLOG: i32 = 128;

/// Bytes of control data that hold `MAX_FDS` descriptors, rounded up to whole words.
const CONTROL_WORDS: usize = 64;

/// Who is at the other end of a Unix socket, told by the kernel at connect time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, in our own pid namespace (0 when it is not visible there).
    pub pid: i32,
}

/// Sends one message and copies of `fds` with it; the caller keeps its own.
///
/// # Errors
/// `InvalidInput` for an empty message (it would read as end of stream) or more than [`MAX_FDS`]; `WouldBlock` on a
/// nonblocking socket whose queue is full; `BrokenPipe` when the peer is gone.
pub fn send_with_fds(sock: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > MAX_FDS {
        let why =
            format!("a message needs 1 byte at least and carries {MAX_FDS} descriptors at most");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut control = [0_usize; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: msghdr is plain data for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !raw.is_empty() {
        let length = mem::size_of_val(raw.as_slice());
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_* only compute sizes and addresses. `control` is word aligned and has room for a header and
        // MAX_FDS descriptors (checked by a test), and `raw` holds `length` bytes.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length as u32) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length as u32) as usize;
            std::ptr::copy_nonoverlapping(
                raw.as_ptr().cast::<u8>(),
                libc::CMSG_DATA(header),
                length,
            );
        }
    }
    let sent = again(|| {
        // SAFETY: every pointer in `message` leads to a local that outlives the call.
        unsafe { libc::sendmsg(sock.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
    })?;
    if sent == bytes.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::WriteZero,
        "the message was sent in part: the socket is not SOCK_SEQPACKET",
    ))
}

/// Receives one message into `buf`, with the descriptors that came along (close-on-exec). 0 bytes: the peer is gone.
///
/// # Errors
/// `InvalidData` when the message is longer than `buf` or carries more than [`MAX_FDS`] descriptors: it is lost and all
/// of its descriptors are closed. `WouldBlock` when a nonblocking socket has none.
pub fn recv_with_fds(sock: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = [0_usize; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: msghdr is plain data for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE only computes a size.
    message.msg_controllen =
        unsafe { libc::CMSG_SPACE((MAX_FDS * mem::size_of::<RawFd>()) as u32) } as usize;
    let length = again(|| {
        // SAFETY: every pointer in `message` leads to a local that outlives the call, with the lengths given.
        unsafe { libc::recvmsg(sock.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) }
    })?;
    // Own the descriptors before judging the message: an early return then closes them.
    let fds = received(&message);
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        let why = format!("a message is longer than the {} bytes allowed", buf.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        let why = format!(
            "a message carries more than {MAX_FDS} descriptors, or this process may open no more"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok((length, fds))
}

fn received(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled `msg_control` and set `msg_controllen` to what it wrote; the CMSG macros stay
    // inside. Each descriptor was made for this process by this very call, so nobody else owns it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header)
                    .cmsg_len
                    .saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..bytes / mem::size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}

/// Repeats a call that a signal interrupted.
fn again(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(n) = usize::try_from(call()) {
            return Ok(n);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Listens at `path` for root only (mode 0600 from the first moment). A socket that nobody listens on any more, left by
/// a process that died, is replaced. The result is nonblocking and close-on-exec.
///
/// # Errors
/// `AddrInUse` when a living process listens there; `AlreadyExists` when the path is something other than a socket.
pub fn seqpacket_listen(path: &Path) -> io::Result<OwnedFd> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("socket {}: {e}", path.display()));
    remove_stale(path).map_err(named)?;
    let fd = new_socket().map_err(named)?;
    // Linux gives the file that bind makes the mode of the socket's own inode: no moment with a wider mode.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| named(e.into()))?;
    let address = UnixAddr::new(path).map_err(|e| named(e.into()))?;
    bind(fd.as_raw_fd(), &address).map_err(|e| named(e.into()))?;
    listen(&fd, Backlog::new(BACKLOG)?).map_err(|e| named(e.into()))?;
    Ok(fd)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "exists and is not a socket; remove it or choose another path",
        )),
        Ok(_) => match seqpacket_connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens here",
            )),
        },
    }
}

/// Accepts one connection; it is nonblocking and close-on-exec.
///
/// # Errors
/// `WouldBlock` when nobody waits; otherwise accept(2)'s.
pub fn seqpacket_accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = accept4(
        listener.as_raw_fd(),
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?;
    // SAFETY: accept4 has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Connects to the socket at `path`. The result is nonblocking and close-on-exec.
///
/// # Errors
/// `NotFound` when there is no socket, `ConnectionRefused` when nobody listens, `WouldBlock` when its queue is full.
pub fn seqpacket_connect(path: &Path) -> io::Result<OwnedFd> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("socket {}: {e}", path.display()));
    let fd = new_socket()?;
    let address = UnixAddr::new(path).map_err(|e| named(e.into()))?;
    connect(fd.as_raw_fd(), &address).map_err(|e| named(e.into()))?;
    Ok(fd)
}

/// Connects to the stream socket at `path` without waiting in its queue. The result is blocking and close-on-exec.
///
/// # Errors
/// `NotFound` when there is no socket, `ConnectionRefused` when nobody listens, `WouldBlock` when its queue is full.
pub fn stream_connect(path: &Path) -> io::Result<UnixStream> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("socket {}: {e}", path.display()));
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path).map_err(|e| named(e.into()))?;
    connect(fd.as_raw_fd(), &address).map_err(|e| named(e.into()))?;
    set_nonblocking(&fd, false)?;
    Ok(fd.into())
}

/// Two connected sockets, nonblocking and close-on-exec.
///
/// # Errors
/// No descriptor is free.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        flags,
        None,
    )?)
}

/// Switches a descriptor between nonblocking and blocking, for callers without a reactor.
///
/// # Errors
/// The descriptor does not know the flag.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(&fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Who connected (or listened) at the other end of a Unix socket.
///
/// # Errors
/// The descriptor is not a connected Unix socket.
pub fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let found = getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(PeerCredentials {
        uid: found.uid(),
        gid: found.gid(),
        pid: found.pid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_buffer_holds_the_largest_message() {
        // SAFETY: CMSG_SPACE only computes a size.
        let need = unsafe { libc::CMSG_SPACE((MAX_FDS * mem::size_of::<RawFd>()) as u32) } as usize;
        assert!(need <= CONTROL_WORDS * mem::size_of::<usize>());
    }
}
