//! Messages with descriptors.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use weft_netns::{
    MAX_FDS, peer_credentials, recv_with_fds, send_with_fds, seqpacket_accept, seqpacket_connect,
    seqpacket_listen, seqpacket_pair,
};

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("weft-netns-{name}-{}.sock", std::process::id()))
}

#[test]
fn a_message_arrives_whole_with_its_descriptors() {
    let (a, b) = seqpacket_pair().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    send_with_fds(a.as_fd(), b"first", &[writer.as_fd()]).unwrap();
    send_with_fds(a.as_fd(), b"second", &[]).unwrap();
    drop(writer);
    let mut buf = [0; 64];
    let (n, fds) = recv_with_fds(b.as_fd(), &mut buf).unwrap();
    assert_eq!((buf.get(..n).unwrap(), fds.len()), (&b"first"[..], 1));
    let mut theirs = std::fs::File::from(fds.into_iter().next().unwrap());
    theirs.write_all(b"x").unwrap();
    drop(theirs);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
    let (n, fds) = recv_with_fds(b.as_fd(), &mut buf).unwrap();
    assert_eq!((buf.get(..n).unwrap(), fds.len()), (&b"second"[..], 0));
}

#[test]
fn received_descriptors_do_not_leak_into_children() {
    let (a, b) = seqpacket_pair().unwrap();
    send_with_fds(a.as_fd(), b"x", &[a.as_fd()]).unwrap();
    let (_, fds) = recv_with_fds(b.as_fd(), &mut [0; 8]).unwrap();
    let flags = nix::fcntl::fcntl(fds.first().unwrap(), nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn as_many_as_allowed_arrive_in_order() {
    let (a, b) = seqpacket_pair().unwrap();
    let many: Vec<BorrowedFd<'_>> = (0..MAX_FDS).map(|_| a.as_fd()).collect();
    send_with_fds(a.as_fd(), b"x", &many).unwrap();
    assert_eq!(
        recv_with_fds(b.as_fd(), &mut [0; 8]).unwrap().1.len(),
        MAX_FDS
    );
    let more: Vec<BorrowedFd<'_>> = (0..=MAX_FDS).map(|_| a.as_fd()).collect();
    assert_eq!(
        send_with_fds(a.as_fd(), b"x", &more).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

/// What was cut short is an error, and the pipe's end that came with it is closed: the reader sees its end.
#[test]
fn a_message_cut_short_is_an_error_and_leaks_nothing() {
    let (a, b) = seqpacket_pair().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    send_with_fds(a.as_fd(), b"too long for the buffer", &[writer.as_fd()]).unwrap();
    drop(writer);
    assert_eq!(
        recv_with_fds(b.as_fd(), &mut [0; 4]).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

/// A peer that does not use our sender may put more descriptors into a message than we take.
#[test]
fn more_descriptors_than_allowed_are_an_error_and_leak_nothing() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;
    let (a, b) = seqpacket_pair().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let raw: Vec<i32> = (0..MAX_FDS + 10).map(|_| writer.as_raw_fd()).collect();
    let part = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(
        a.as_raw_fd(),
        &part,
        &[ControlMessage::ScmRights(&raw)],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    drop(writer);
    assert_eq!(
        recv_with_fds(b.as_fd(), &mut [0; 4]).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn an_ended_peer_reads_as_zero_and_writes_as_broken_pipe() {
    let (a, b) = seqpacket_pair().unwrap();
    assert_eq!(
        recv_with_fds(b.as_fd(), &mut [0; 4]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(a);
    let (n, fds) = recv_with_fds(b.as_fd(), &mut [0; 4]).unwrap();
    assert_eq!((n, fds.len()), (0, 0));
    assert_eq!(
        send_with_fds(b.as_fd(), b"x", &[]).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(
        send_with_fds(b.as_fd(), b"", &[]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn the_listening_socket_is_for_its_owner_only_and_knows_its_peer() {
    let path = path("mode");
    let listener = seqpacket_listen(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        seqpacket_accept(listener.as_fd()).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let client: OwnedFd = seqpacket_connect(&path).unwrap();
    let server = seqpacket_accept(listener.as_fd()).unwrap();
    let peer = peer_credentials(server.as_fd()).unwrap();
    assert_eq!(
        (peer.uid, peer.pid),
        (nix::unistd::getuid().as_raw(), std::process::id() as i32)
    );
    drop(client);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_dead_listener_is_replaced_and_a_living_one_is_not() {
    let path = path("stale");
    let living = seqpacket_listen(&path).unwrap();
    assert_eq!(
        seqpacket_listen(&path).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    drop(living);
    assert_eq!(
        seqpacket_connect(&path).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    drop(seqpacket_listen(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let refused = seqpacket_listen(&path).unwrap_err();
    assert!(refused.to_string().contains("not a socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    let long = PathBuf::from("/tmp").join("x".repeat(120));
    assert!(
        seqpacket_listen(&long)
            .unwrap_err()
            .to_string()
            .contains("xxx")
    );
}
