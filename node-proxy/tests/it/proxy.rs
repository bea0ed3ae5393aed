//! The process under test: started like a DaemonSet would, asked over its admin socket, measured through `/proc`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::mesh::Mesh;
use crate::world::PATIENCE;

/// How to start it.
#[derive(Clone)]
pub(crate) struct Spawn {
    /// Value of `--access-log-format`.
    pub(crate) format: &'static str,
    /// Limit of open descriptors; none = whatever the tests have.
    pub(crate) descriptors: Option<u32>,
    /// Value of `--workers`.
    pub(crate) workers: usize,
    /// With `--stay-when-drained`.
    pub(crate) stay: bool,
}

impl Default for Spawn {
    fn default() -> Self {
        Self {
            format: "json",
            descriptors: None,
            workers: 2,
            stay: false,
        }
    }
}

/// A running `weft-proxy`.
pub(crate) struct Proxy {
    child: Child,
    dir: PathBuf,
    number: u32,
}

impl Proxy {
    pub(crate) fn spawn(dir: &Path, mesh: &Mesh, spawn: &Spawn) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = File::create(dir.join(format!("log-{number}"))).unwrap();
        // It dies with the thread of its test, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c"])
            .arg("ulimit -n $0 > /dev/null; exec \"$@\"")
            .arg(
                spawn
                    .descriptors
                    .map_or("-S".to_owned(), |limit| limit.to_string()),
            )
            .arg(binary())
            .args(["--node-name", "node1", "--operator", &mesh.uri()])
            .args([
                "--metrics-listen",
                "127.0.0.1:0",
                "--ready-listen",
                "127.0.0.1:0",
            ])
            .args(["--workers", &spawn.workers.to_string()])
            .args(spawn.stay.then_some("--stay-when-drained"))
            .args(["--access-log", "all", "--access-log-format", spawn.format])
            .arg("--access-log-file")
            .arg(dir.join(format!("access-{number}")))
            .arg("--run-dir")
            .arg(dir)
            .arg("--state-dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            dir: dir.to_owned(),
            number,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join(format!("log-{}", self.number))).unwrap()
    }

    /// The access log so far.
    pub(crate) fn access_log(&self) -> String {
        std::fs::read_to_string(self.dir.join(format!("access-{}", self.number))).unwrap()
    }

    /// One GET on the admin socket; the body.
    pub(crate) fn get(&self, path: &str) -> String {
        let socket = self.dir.join(format!("proxy-{}.sock", self.pid()));
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nhost: admin\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Its metrics.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics(self.get("/metrics"))
    }

    /// Resident memory, bytes.
    pub(crate) fn rss(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, within: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < within, "it does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.dir.join(format!("log-{}", self.number));
            eprintln!(
                "--- proxy {}\n{}",
                self.number,
                std::fs::read_to_string(log).unwrap_or_default()
            );
        }
    }
}

/// The program: cargo's own, or the one that `PROXY_UNDER_TEST` names (a release build, an older version).
fn binary() -> OsString {
    std::env::var_os("PROXY_UNDER_TEST").unwrap_or_else(|| env!("CARGO_BIN_EXE_weft-proxy").into())
}

/// One scrape.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// Sum of all series of a metric whose labels contain each of `labels` (as they are written, `name="value"`).
    pub(crate) fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        self.series(metric)
            .filter(|(set, _)| labels.iter().all(|label| set.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    /// All series of a metric: labels as written, value.
    pub(crate) fn series<'m>(&'m self, metric: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(metric)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.trim().parse().unwrap()))
        })
    }
}
