//! A handle on a network namespace, and the guard that does something inside it.
//!
//! `Netns::run` is the only way in. It comes home on return and on panic alike; a thread that cannot come home would
//! serve one pod's traffic in another pod's namespace, so that case ends the process instead.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

/// The namespace that the calling thread is in, as a path.
const CURRENT: &str = "/proc/thread-self/ns/net";

thread_local! {
    /// The namespace this thread starts every outermost `run` from; opened at its first use.
    static HOME: OnceCell<OwnedFd> = const { OnceCell::new() };
    /// How many `run`s this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Identity of a network namespace for as long as something keeps it alive; the kernel reuses numbers afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device of the namespace file system.
    pub dev: u64,
    /// Inode of the namespace.
    pub ino: u64,
}

/// An open network namespace. It stays alive while this handle (or any socket in it) is open.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

impl Netns {
    /// Opens a namespace by path (`/run/netns/x`, `/proc/PID/ns/net`).
    ///
    /// # Errors
    /// The path cannot be opened, or is not a network namespace (`InvalidInput`); the path is in the message.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named = |e: io::Error| {
            io::Error::new(
                e.kind(),
                format!("network namespace {}: {e}", path.display()),
            )
        };
        let file = File::open(path).map_err(named)?;
        Self::from_fd(file.into()).map_err(named)
    }

    /// Takes an open file descriptor, after checking that it is a network namespace.
    ///
    /// # Errors
    /// `InvalidInput` when the descriptor is anything else.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: NS_GET_NSTYPE takes no argument and only reports a number for an open descriptor.
        let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "is not a network namespace",
            ));
        }
        let stat = nix::sys::stat::fstat(&fd)?;
        Ok(Self {
            fd,
            id: NetnsId {
                dev: stat.st_dev,
                ino: stat.st_ino,
            },
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// `/proc` is not mounted, or no descriptor is free.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new(CURRENT))
    }

    /// Makes a new, empty namespace that no path leads to; it ends with its last handle, socket and process.
    ///
    /// # Errors
    /// The caller lacks `CAP_SYS_ADMIN`, or a kernel limit is reached.
    pub fn scratch() -> io::Result<Self> {
        // A thread of its own, which dies there: the caller's thread never moves.
        let made = std::thread::spawn(|| -> io::Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        });
        made.join()
            .map_err(|_| io::Error::other("the thread that makes a namespace panicked"))?
    }

    /// Device and inode: equal for two handles on one namespace.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Another handle on the same namespace.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            id: self.id,
        })
    }

    /// Does `f` inside this namespace, on the calling thread only, and comes home: also when `f` panics. If home cannot
    /// be entered again the process is aborted. Sockets and child processes made by `f` belong to this namespace.
    ///
    /// The thread's home is opened once and remembered, so a thread that uses `run` must not be moved by other means.
    ///
    /// # Errors
    /// The namespace cannot be entered (no `CAP_SYS_ADMIN`) or home cannot be remembered; `f` has not run then.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        if DEPTH.try_with(Cell::get).unwrap_or(1) > 0 {
            // Inside another run (or while the thread ends): the way back is where we are now, not home.
            let back = File::open(CURRENT)?;
            return enter(&self.fd, back.as_fd(), f);
        }
        HOME.with(|home| {
            if home.get().is_none() {
                let _ = home.set(File::open(CURRENT)?.into());
            }
            let back = home
                .get()
                .ok_or_else(|| io::Error::other("the home namespace could not be remembered"))?;
            enter(&self.fd, back.as_fd(), f)
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn enter<T>(there: &OwnedFd, back: BorrowedFd<'_>, f: impl FnOnce() -> T) -> io::Result<T> {
    setns(there, CloneFlags::CLONE_NEWNET)?;
    let _way_home = WayHome::new(back);
    Ok(f())
}

/// Goes back when dropped, so that a panic goes back too.
struct WayHome<'a>(BorrowedFd<'a>);

impl<'a> WayHome<'a> {
    fn new(back: BorrowedFd<'a>) -> Self {
        let _ = DEPTH.try_with(|d| d.set(d.get().saturating_add(1)));
        Self(back)
    }
}

impl Drop for WayHome<'_> {
    #[allow(
        clippy::disallowed_methods,
        reason = "going on would carry this thread's other work into a foreign pod: worse than an interruption of all"
    )]
    fn drop(&mut self) {
        if let Err(error) = setns(self.0, CloneFlags::CLONE_NEWNET) {
            eprintln!("fatal: this thread cannot return to its network namespace: {error}");
            std::process::abort();
        }
        let _ = DEPTH.try_with(|d| d.set(d.get().saturating_sub(1)));
    }
}
