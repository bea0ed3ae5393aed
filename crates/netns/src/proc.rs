//! A `/proc` that is attached nowhere. In a container without privileges `/proc/sys` is mounted read-only, although the
//! container may enter network namespaces; the settings of a namespace are reached through a mount that only this
//! thread knows, so no mount namespace is made and nobody else sees anything.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

// linux/mount.h, which libc does not carry.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

thread_local! {
    /// This thread's own `/proc`, made when it is first needed.
    static OWN: OnceCell<OwnedFd> = const { OnceCell::new() };
}

/// Writes to a file of this thread's own `/proc`; `path` is relative to it. What a path means is decided by the
/// namespace that the thread is in when it opens it.
pub(crate) fn write(path: &Path, value: &str) -> io::Result<()> {
    OWN.with(|own| {
        if own.get().is_none() {
            let _ = own.set(detached()?);
        }
        let root = own
            .get()
            .ok_or_else(|| io::Error::other("no /proc of our own"))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(root, path, flags, Mode::empty())?);
        file.write_all(value.as_bytes())
    })
}

/// `fsopen`, `fsconfig`, `fsmount` (Linux 5.2), for which the C library has no names everywhere.
fn detached() -> io::Result<OwnedFd> {
    // SAFETY: the name is a constant with its terminating zero; the answer is a new descriptor or an error.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) };
    let context = descriptor(context)?;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither a key nor a value: both are null, as the kernel demands.
    let made = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            nothing,
            nothing,
            0,
        )
    };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes numbers only; the answer is a new descriptor or an error.
    let root = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
    descriptor(root)
}

fn descriptor(answer: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(answer) {
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
