//! Processes under measurement: started in a namespace and on a core, their CPU and memory read from /proc.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};

/// The core that each proxy has to itself.
pub(crate) const PROXY_CORE: usize = 0;
/// Unit of CPU times in /proc: `USER_HZ`, 100 on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Descriptors that a proxy needs: idle connections on both sides, and some.
const DESCRIPTORS: u64 = 12_000;
/// How long a proxy may take to leave before it is killed.
const LEAVE: Duration = Duration::from_secs(3);

/// Raises the descriptor limit, which children inherit, as far as it goes.
pub(crate) fn claim_limits() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the file limit")?;
    if hard < DESCRIPTORS {
        bail!("only {hard} open files are allowed and {DESCRIPTORS} are needed: ulimit -Hn");
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the file limit")
}

/// Puts this process, and what it starts, on all cores but the proxy's.
pub(crate) fn pin_to_load_cores() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    if cores < 2 {
        bail!("one core: a proxy and its load need one each");
    }
    let mut set = CpuSet::new();
    for core in (0..cores).filter(|core| *core != PROXY_CORE) {
        set.set(core).context("cannot name a core")?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose cores")
}

/// A command that runs inside a network namespace. `nsenter` replaces itself, so the pid is the program's.
pub(crate) fn inside(namespace: &Path, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespace.display()))
        .arg("--")
        .arg(program);
    command
}

/// As [`inside`], on the proxy's core.
pub(crate) fn inside_on_proxy_core(namespace: &Path, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &PROXY_CORE.to_string(), "nsenter"]);
    command
        .arg(format!("--net={}", namespace.display()))
        .arg("--")
        .arg(program);
    command
}

/// A started program; it ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts with output to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            child,
            log: log.to_path_buf(),
        })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log, for error messages.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(5))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Politely first: a master that is killed leaves its workers.
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let deadline = Instant::now() + LEAVE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU and memory of a process and its descendants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all threads, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory in KiB.
    pub(crate) resident_kib: u64,
}

/// Reads the usage of `root` and of everything below it.
pub(crate) fn usage(root: u32) -> anyhow::Result<Usage> {
    let mut total = Usage {
        cpu_seconds: 0.0,
        resident_kib: 0,
    };
    for pid in family(root)? {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some(stat) = Stat::parse(&stat) else {
            continue;
        };
        total.cpu_seconds += stat.ticks as f64 / TICKS_PER_SECOND;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        total.resident_kib += resident_kib(&status).unwrap_or(0);
    }
    if total.resident_kib == 0 {
        bail!("process {root} is gone");
    }
    Ok(total)
}

fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")
        .context("cannot list /proc")?
        .flatten()
    {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(stat) = Stat::parse(&stat) {
            parents.push((pid, stat.parent));
        }
    }
    let mut members = vec![root];
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        members.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    Ok(members)
}

/// The fields of `/proc/PID/stat` that count here (proc(5)).
struct Stat {
    parent: u32,
    /// utime + stime, all threads.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the name in parentheses, which may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)?,
        })
    }
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Stat, resident_kib, usage};

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_fields() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 21 22 5 5 20 0 1 0 9 1 2";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 43));
        assert!(Stat::parse("7 (x").is_none());
    }

    #[test]
    fn own_memory_is_seen_and_a_dead_process_is_an_error() {
        assert!(usage(std::process::id()).unwrap().resident_kib > 100);
        assert!(usage(u32::MAX).is_err());
        assert_eq!(
            resident_kib("VmPeak: 9 kB\nVmRSS:\t  1234 kB\n"),
            Some(1234)
        );
    }
}
