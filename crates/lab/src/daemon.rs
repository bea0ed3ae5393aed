//! One of Weft's daemons under supervision: started in its node's namespace with the flags of the contract, its output
//! in a file, readiness asked over HTTP, ended by SIGTERM or, for tests, by SIGKILL.

use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use weft_netns::Netns;

use crate::preflight::PATH;
use crate::verb::http;

/// A daemon must be ready within this time of its start.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// And gone within this time of SIGTERM; then it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Between two questions for readiness.
const READY_PERIOD: Duration = Duration::from_millis(10);
/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 12;

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `weft-operator`, in the root.
    Operator,
    /// `weft-agent`, one per node.
    Agent,
    /// `weft-proxy`, one per node (two during an upgrade).
    Proxy,
}

impl Part {
    /// Name of its binary.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Self::Operator => "weft-operator",
            Self::Agent => "weft-agent",
            Self::Proxy => "weft-proxy",
        }
    }

    /// Port of `/metrics`.
    #[must_use]
    pub fn metrics_port(self) -> u16 {
        match self {
            Self::Operator => 15014,
            Self::Agent => 15019,
            Self::Proxy => 15020,
        }
    }

    /// Port of `/healthz/ready`.
    #[must_use]
    pub fn ready_port(self) -> u16 {
        match self {
            Self::Proxy => 15021,
            Self::Operator | Self::Agent => self.metrics_port(),
        }
    }
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
    ready: SocketAddr,
    metrics: SocketAddr,
}

/// How to start one.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) part: Part,
    /// `node-1`, or empty for the operator.
    pub(crate) node: String,
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) logs: PathBuf,
    pub(crate) ready: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Daemon {
    pub(crate) fn start(launch: &Launch, ns: &Netns) -> anyhow::Result<Self> {
        let name = match launch.node.as_str() {
            "" => launch.part.binary().to_owned(),
            node => format!("{} on {node}", launch.part.binary()),
        };
        let log = launch
            .logs
            .join(format!("{}.log", name.replace(" on ", "-")));
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = Command::new(&launch.binary);
        command
            .args(&launch.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true);
        let child = ns
            .run(|| command.spawn())?
            .with_context(|| format!("cannot start {}", launch.binary.display()))?;
        let pid = child.id().unwrap_or(0);
        Ok(Self {
            name,
            child,
            pid,
            log,
            ready: launch.ready,
            metrics: launch.metrics,
        })
    }

    /// Process id, as seen inside the room.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `weft-proxy on node-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// Its standard output and error, over all of its lives.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether the process has ended, and how.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `/healthz/ready` answers 200.
    ///
    /// # Errors
    /// It ends or is not ready in time; the end of its log is in the message.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.ended() {
                bail!(
                    "{} has ended: {status}; its last words:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            if http::get(self.ready, "/healthz/ready")
                .await
                .is_ok_and(|r| r.status == 200)
            {
                return Ok(());
            }
            if started.elapsed() > READY_DEADLINE {
                let (name, words) = (&self.name, self.last_words());
                bail!("{name} was not ready within {READY_DEADLINE:?}; its last words:\n{words}");
            }
            tokio::time::sleep(READY_PERIOD).await;
        }
    }

    /// SIGTERM, and SIGKILL if that is ignored. True when it ended in time with code 0.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn stop(mut self) -> io::Result<bool> {
        self.signal(Signal::SIGTERM);
        match tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await {
            Ok(status) => Ok(status?.success()),
            Err(_) => self.kill().await.map(|()| false),
        }
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Any signal (SIGSTOP and SIGCONT make a daemon hang and come back).
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(QUOTED_LINES)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// Where a daemon of a node (or of the root) answers.
pub(crate) fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}
