//! Two traits over the real machine: the agent's socket and the list on disk. Blocking, one round trip, then gone.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use weft_netns::{
    peer_credentials, recv_with_fds, send_with_fds, seqpacket_connect, set_nonblocking,
};
use weft_wire::cni::{Answer, MAX_PACKET};
use weft_wire::membership;

use crate::dispatch::{Agent, Lists, Question, Unanswered};

/// The agent's socket in its run directory.
const SOCKET: &str = "cni.sock";
/// Pause before another try while the agent's queue of connections is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);
/// The list holds a line per pod of one node; more than this is no list of ours, bytes.
const MAX_LIST: u64 = 4 * 1024 * 1024;

/// The agent behind its socket.
pub(crate) struct Socket;

impl Agent for Socket {
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, Unanswered> {
        let netns = question.netns.map(|path| {
            File::open(path)
                .map_err(|error| Unanswered::Netns(format!("{}: {error}", path.display())))
        });
        let netns = netns.transpose()?;
        let path = question.run_dir.join(SOCKET);
        talk(&path, question, netns.as_ref().map(AsFd::as_fd))
            .map_err(|error| Unanswered::Agent(format!("weft-agent does not answer: {error}")))
    }
}

fn talk(path: &Path, question: &Question<'_>, netns: Option<BorrowedFd<'_>>) -> io::Result<Answer> {
    let until = Instant::now() + question.within;
    let socket = connect(path, until)?;
    // The directory belongs to root; should it ever not, nobody else may play the agent.
    if peer_credentials(socket.as_fd())?.uid != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not served by root", path.display()),
        ));
    }
    set_nonblocking(&socket, false)?;
    // Only the standard library's timeouts are wanted here: the kind of the Unix socket makes no difference to them.
    let socket = UnixStream::from(socket);
    let request = serde_json::to_vec(question.request)?;
    socket.set_write_timeout(Some(left(until)?))?;
    let fds: Vec<BorrowedFd<'_>> = netns.into_iter().collect();
    send_with_fds(socket.as_fd(), &request, &fds).map_err(|e| in_time(e, question.within))?;
    socket.set_read_timeout(Some(left(until)?))?;
    let mut buffer = vec![0; MAX_PACKET];
    let (length, _) =
        recv_with_fds(socket.as_fd(), &mut buffer).map_err(|e| in_time(e, question.within))?;
    match buffer.get(..length) {
        None | Some([]) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")),
        Some(answer) => Ok(serde_json::from_slice(answer)?),
    }
}

/// Connects; a full queue (many pods starting at once) is waited for, a missing agent is not.
fn connect(path: &Path, until: Instant) -> io::Result<OwnedFd> {
    loop {
        match seqpacket_connect(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(left(until)?.min(QUEUE_PAUSE));
            }
            other => return other,
        }
    }
}

pub(crate) fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// A socket timeout shows itself as "would block", which would tell people nothing.
fn in_time(error: io::Error, within: Duration) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {within:?}"),
        );
    }
    error
}

/// The list on disk.
pub(crate) struct Disk;

impl Lists for Disk {
    fn read(&mut self, state_dir: &Path) -> io::Result<Option<String>> {
        let path = state_dir.join(membership::FILE);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(found) if found.len() > MAX_LIST => {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, "is too large"))
            }
            Ok(_) => fs::read_to_string(&path).map(Some),
        }
    }
}
