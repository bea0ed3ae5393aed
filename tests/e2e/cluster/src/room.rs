//! The room: the first process of a cluster's own pid, mount and network namespaces. All other processes of the cluster
//! are in it, so that its end is theirs.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_netns::Netns;

use crate::process;

/// In the cluster's directory: pid and start time of the room's first process.
pub(crate) const ROOM_FILE: &str = "room";
/// How long the room's first process may take to appear, and to go.
const DEADLINE: Duration = Duration::from_secs(10);
/// First argument of the room's first process: for whoever reads a list of processes.
const TITLE: &str = "weft-cluster-room";

/// A running room.
#[derive(Debug)]
pub(crate) struct Room {
    pid: u32,
    start: u64,
    namespace: String,
    /// The process between us and the room, whose standard input the room watches. None: the room stands for itself.
    holder: Option<Child>,
}

impl Room {
    /// Makes a room. `detached` rooms stand until they are killed, others end with the calling process.
    pub(crate) fn make(directory: &Path, pause: &Path, detached: bool) -> anyhow::Result<Self> {
        let log = File::create(directory.join("logs/room.log")).context("cannot make a log")?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--fork"])
            .args(["--kill-child=SIGKILL", "--mount-proc"])
            .arg(pause)
            .arg(TITLE)
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        if detached {
            command.stdin(Stdio::null());
        } else {
            command.arg("--until-eof").stdin(Stdio::piped());
        }
        let mut holder = command.spawn().context("cannot start `unshare`")?;
        let pid = process::until("the room's first process", DEADLINE, || {
            if let Ok(Some(status)) = holder.try_wait() {
                let words = fs::read_to_string(directory.join("logs/room.log"));
                bail!("unshare: {status}: {}", words.unwrap_or_default().trim());
            }
            first_child(holder.id()).context("it is not there yet")
        })?;
        let start = process::start_time(pid).context("the room ended at once")?;
        fs::write(directory.join(ROOM_FILE), format!("{pid} {start}\n"))
            .context("cannot write the room's file")?;
        Ok(Self {
            pid,
            start,
            namespace: process::pid_namespace(pid).context("the room ended at once")?,
            holder: (!detached).then_some(holder),
        })
    }

    /// The room of a cluster that is up.
    pub(crate) fn find(directory: &Path) -> Option<Self> {
        let (pid, start) = stamp(&directory.join(ROOM_FILE))?;
        if process::start_time(pid) != Some(start) {
            return None;
        }
        Some(Self {
            pid,
            start,
            namespace: process::pid_namespace(pid)?,
            holder: None,
        })
    }

    /// First process of the room.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The link of its pid namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The control plane's network.
    pub(crate) fn netns(&self) -> anyhow::Result<Netns> {
        Netns::open(&PathBuf::from(format!("/proc/{}/ns/net", self.pid)))
            .context("the cluster's room has ended")
    }

    /// A program in the room: its processes, its mounts, the control plane's network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string()])
            .args(["--mount", "--net", "--pid", "--", program]);
        command
    }

    /// A program of the machine in the control plane's network only.
    pub(crate) fn network_command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid))
            .arg("--")
            .arg(program);
        command
    }

    /// Ends everything in the room and waits for the end.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        if process::start_time(self.pid) == Some(self.start)
            && let Ok(pid) = i32::try_from(self.pid)
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(mut holder) = self.holder.take() {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
        // The first process goes last: it waits for all others of its namespace.
        process::until("the end of the room", DEADLINE, || {
            if process::start_time(self.pid) == Some(self.start) {
                bail!("process {} is still there", self.pid);
            }
            Ok(())
        })
    }
}

/// The only child of `unshare`, once it is what it shall be.
fn first_child(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let pid: u32 = children.split_ascii_whitespace().next()?.parse().ok()?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    line.split('\0')
        .nth(1)
        .is_some_and(|word| word == TITLE)
        .then_some(pid)
}

/// Pid and start time from a file.
pub(crate) fn stamp(file: &Path) -> Option<(u32, u64)> {
    let text = fs::read_to_string(file).ok()?;
    let mut parts = text.split_ascii_whitespace();
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
