//! The lab's room: a process with its own pid, mount and network namespaces and one directory.
//!
//! `enter` is called first thing by a program that wants a lab. Outside, it starts the same program again inside and
//! waits; inside, it hands out the room. Nothing can outlive the room: its first process is pid 1 of its pid namespace
//! (the kernel kills all others with it), it dies with its parent, its mounts and interfaces die with their namespaces,
//! and a janitor outside, which waits for the end of a pipe and for nothing else, removes the directory. This holds for
//! `kill -9` of either process. Should the janitor be killed too, the next start sweeps what it left.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, geteuid, getpid};

/// Tells the inner process its directory. Daemons never see it.
pub(crate) const ROOM_VARIABLE: &str = "WEFT_LAB_ROOM";
/// Directories of rooms are `<temp>/weft-lab-<pid>-<start time of that pid in ticks>`.
const PREFIX: &str = "weft-lab-";
/// In the room: the inner process's pid as the outside counts.
const PID_FILE: &str = "pid";
/// Waits for the end of its standard input, then removes the directory; a process that is just dying may still write.
const JANITOR: &str = r#"cat >/dev/null; n=0
while [ -e "$1" ] && [ $n -lt 100 ]; do rm -rf -- "$1" 2>/dev/null; [ -e "$1" ] && sleep 0.1; n=$((n+1)); done"#;

/// Where the caller finds itself.
#[derive(Debug)]
pub enum Side {
    /// Inside: make the lab here.
    Inside(Room),
    /// Outside, and the inner process has ended with this code: leave with it.
    Outside(u8),
}

/// The inner process's own directory; it vanishes with the room.
#[derive(Clone, Debug)]
pub struct Room {
    directory: PathBuf,
}

impl Room {
    /// The directory, writable by root only.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The inner process's pid outside, for `nsenter`.
    #[must_use]
    pub fn outside_pid(&self) -> Option<u32> {
        fs::read_to_string(self.directory.join(PID_FILE))
            .ok()?
            .parse()
            .ok()
    }
}

/// Splits a program in two: call it first in `main`, before any thread or runtime exists.
/// SIGINT, SIGTERM and SIGHUP are passed on to the inner process; a second one kills it.
///
/// # Errors
/// Not root, or a namespace, process or directory cannot be made.
pub fn enter() -> anyhow::Result<Side> {
    match given_room() {
        Some(room) => furnish(room).map(Side::Inside),
        None => {
            let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
            outside(&arguments, true).map(Side::Outside)
        }
    }
}

/// The same for one test of a libtest binary: `test` is its path as libtest prints it. The outer test passes when the
/// inner one does.
///
/// # Errors
/// As [`enter`].
pub fn enter_test(test: &str) -> anyhow::Result<Side> {
    match given_room() {
        Some(room) => furnish(room).map(Side::Inside),
        None => {
            let arguments =
                ["--exact", test, "--nocapture", "--include-ignored"].map(OsString::from);
            outside(&arguments, false).map(Side::Outside)
        }
    }
}

fn given_room() -> Option<Room> {
    let directory = std::env::var_os(ROOM_VARIABLE)?;
    (getpid() == Pid::from_raw(1)).then(|| Room {
        directory: directory.into(),
    })
}

fn outside(arguments: &[OsString], forward: bool) -> anyhow::Result<u8> {
    if !geteuid().is_root() {
        bail!("namespaces and packet rules need root: run this in a root shell (sudo -i)");
    }
    sweep();
    let directory = make_directory()?;
    let inner = Arc::new(AtomicI32::new(0));
    let mut janitor = Command::new("sh")
        .args(["-c", JANITOR, "weft-lab-janitor"])
        .arg(&directory)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start sh")?;
    if forward {
        forward_signals(&inner)?;
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let arguments = arguments.to_vec();
    let (room, note) = (directory.clone(), directory.join(PID_FILE));
    // A thread of its own: after this unshare its next child is pid 1 of a new namespace, and it may start no thread.
    let worker = std::thread::spawn(move || -> anyhow::Result<u8> {
        unshare(CloneFlags::CLONE_NEWPID).context("cannot make a pid namespace")?;
        let mut child = Command::new(program)
            .args(arguments)
            .env(ROOM_VARIABLE, room)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the inner process")?;
        let _ = fs::write(note, child.id().to_string());
        inner.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
        exit_code(&mut child)
    });
    let code = worker
        .join()
        .unwrap_or_else(|_| bail!("the thread of the inner process panicked"));
    drop(janitor.stdin.take());
    let _ = janitor.wait();
    code
}

/// Waits; a death by signal N becomes 128 + N, as in a shell.
fn exit_code(child: &mut Child) -> anyhow::Result<u8> {
    let held = child.stdin.take();
    let status = child.wait().context("cannot wait for the inner process")?;
    drop(held);
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s));
    Ok(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}

/// Signals that ask for the end.
fn ending() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

fn forward_signals(inner: &Arc<AtomicI32>) -> anyhow::Result<()> {
    let set = ending();
    set.thread_block().context("cannot block signals")?;
    let inner = Arc::clone(inner);
    std::thread::spawn(move || {
        let mut told = false;
        while let Ok(signal) = set.wait() {
            let pid = inner.load(Ordering::SeqCst);
            if pid == 0 {
                // Nothing has started: the pipes close with us and the janitor does the rest.
                std::process::exit(128 + signal as i32);
            }
            let signal = if told { Signal::SIGKILL } else { signal };
            let _ = kill(Pid::from_raw(pid), signal);
            told = true;
        }
    });
    Ok(())
}

/// Inside: leave the host's namespaces, see only own processes, own `/run`; end when the outer process ends.
fn furnish(room: Room) -> anyhow::Result<Room> {
    // Blocked outside, and a mask is inherited: by all daemons, too, if it stayed.
    ending()
        .thread_unblock()
        .context("cannot unblock signals")?;
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to die with the parent")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("cannot make a mount and a network namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, none).context("cannot mount /proc")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), safe, Some("mode=755"))
        .context("cannot mount a private /run")?;
    fs::create_dir("/run/netns").context("cannot make /run/netns")?;
    // The parent may have died before it could be asked for: its pipe tells.
    std::thread::spawn(|| {
        let mut byte = [0_u8; 1];
        let mut input = std::io::stdin();
        while matches!(input.read(&mut byte), Ok(n) if n > 0) {}
        std::process::exit(1);
    });
    Ok(room)
}

fn make_directory() -> anyhow::Result<PathBuf> {
    let pid = std::process::id();
    let start = start_time(pid).context("cannot read /proc/self/stat: is /proc mounted?")?;
    // Tests of one binary run in one process: a number tells their rooms apart.
    for number in 0_u32.. {
        let name = format!("{PREFIX}{pid}-{start}-{number}");
        let path = std::env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
        }
    }
    bail!("no name is free in {}", std::env::temp_dir().display())
}

/// Removes rooms whose outer process is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((pid, start)) = name.to_str().and_then(owner_of) else {
            continue;
        };
        if start_time(pid) != Some(start) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn owner_of(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let owner = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next()?.parse::<u32>().ok()?;
    parts.next().is_none().then_some(owner)
}

/// Field 22 of `/proc/PID/stat`: with the pid it names a process for ever.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_rooms_are_swept() {
        assert_eq!(owner_of("weft-lab-12-345-0"), Some((12, 345)));
        for other in [
            "weft-lab-12",
            "weft-lab-12-345",
            "weft-lab-x-1-0",
            "weft-lab-1-2-3-4",
            "mine",
        ] {
            assert_eq!(owner_of(other), None, "{other}");
        }
    }

    #[test]
    fn own_start_time_is_known() {
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
