//! A daemon of the control plane or of a node: started inside, told from outside by the number that it has inside, its
//! output in a file. Its parent is the first process of the place, so that nothing of it is left outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process;

/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 15;
/// A daemon that has been told to end must have ended.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// Starts `$3…` in a session of its own; `$1` is the log, `$2` the file for its number.
const START: &str = r#"log=$1 number=$2; shift 2
setsid "$@" >>"$log" 2>&1 </dev/null &
echo $! >"$number""#;

/// Where daemons of one place leave logs and numbers.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The link of the place's pid namespace.
    pub(crate) namespace: String,
    /// The directory as we see it.
    pub(crate) outside: PathBuf,
    /// The same as the place sees it.
    pub(crate) inside: PathBuf,
}

impl Place {
    /// Starts a daemon; `shell` is `sh`, about to be run inside.
    pub(crate) fn start(
        &self,
        mut shell: Command,
        name: &str,
        line: &[String],
    ) -> anyhow::Result<()> {
        shell
            .args(["-c", START, "sh"])
            .arg(self.inside.join(format!("{name}.log")))
            .arg(self.inside.join(format!("{name}.pid")))
            .args(line);
        process::output(&mut shell).with_context(|| format!("cannot start {name}"))?;
        Ok(())
    }

    /// Its pid as we count, while it runs.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let file = self.outside.join(format!("{name}.pid"));
        let inner = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        process::find(&self.namespace, inner)
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let Some(pid) = self.pid(name) else {
            bail!("{name} is not running");
        };
        let start = process::start_time(pid);
        kill(Pid::from_raw(i32::try_from(pid)?), signal)
            .with_context(|| format!("cannot signal {name}"))?;
        process::until(&format!("the end of {name}"), STOP_DEADLINE, || {
            if start.is_some() && process::start_time(pid) == start {
                bail!("process {pid} is still there");
            }
            Ok(())
        })
    }

    /// Waits for `look`, but no longer than the daemon lives.
    pub(crate) fn wait(
        &self,
        name: &str,
        deadline: Duration,
        mut look: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut ended = false;
        let result = process::until(name, deadline, || {
            if self.pid(name).is_none() {
                ended = true;
                return Ok(());
            }
            look()
        });
        if ended {
            bail!(
                "{name} has ended; its last words:\n{}",
                self.last_words(name)
            );
        }
        result.with_context(|| format!("its last words:\n{}", self.last_words(name)))
    }

    fn last_words(&self, name: &str) -> String {
        last_lines(&self.outside.join(format!("{name}.log")))
    }
}

/// The end of a log.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(QUOTED_LINES)..)
        .unwrap_or_default()
        .join("\n")
}
