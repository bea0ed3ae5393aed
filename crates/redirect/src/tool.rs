//! Runs the programs of iptables inside a pod's namespace, for both families at once: their time is mostly waiting.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weft_netns::Netns;

use crate::backend::Flavour;
use crate::desired::Family;
use crate::error::Error;

/// Seconds that legacy iptables waits for its lock; ours is private to the pod, so only a hung process holds it.
const LOCK_WAIT_SECONDS: &str = "5";

/// Most bytes of a program's complaint that go into our own message.
const MAX_COMPLAINT: usize = 500;

/// Longest that one program may take; they need milliseconds, and wait for a lock for 5 s.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Most bytes that one program may print: an app that may change rules could have very many.
const MAX_OUTPUT: usize = 8 << 20;

/// What iptables program to run, where.
pub(crate) struct Tool<'a> {
    pub(crate) ns: &'a Netns,
    pub(crate) flavour: Flavour,
    /// Lock file for this pod: the default one is the host's, and would make all pods wait for each other.
    pub(crate) lock: PathBuf,
}

impl Tool<'_> {
    /// The rules of each family as text, in the given order.
    pub(crate) fn save(&self, families: &[Family]) -> Result<Vec<String>, Error> {
        let jobs = families
            .iter()
            .map(|&family| self.start(family, "save", None))
            .collect::<Vec<_>>();
        jobs.into_iter().map(|job| job?.finish()).collect()
    }

    /// Applies one transaction per family. All are tried; the first error counts.
    pub(crate) fn restore(&self, transactions: &[(Family, String)]) -> Result<(), Error> {
        let started = transactions
            .iter()
            .map(|(family, text)| self.start(*family, "restore", Some(text)));
        let started = started.collect::<Vec<_>>();
        let ended: Vec<Result<String, Error>> =
            started.into_iter().map(|job| job?.finish()).collect();
        ended.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    fn start(&self, family: Family, action: &str, input: Option<&str>) -> Result<Job, Error> {
        let program = program(self.flavour, family, action);
        let mut command = Command::new(&program);
        command
            .env("XTABLES_LOCKFILE", &self.lock)
            .env("LC_ALL", "C");
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.args(["--noflush", "--wait", LOCK_WAIT_SECONDS]);
        }
        // A child belongs to the namespace of the thread that starts it.
        let spawned = self.ns.run(|| command.spawn()).map_err(Error::Namespace)?;
        let mut child = spawned.map_err(|source| Error::Run {
            program: program.clone(),
            source,
        })?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            // A program that ends early says why on stderr, which tells more than the broken pipe.
            let _ = stdin.write_all(text.as_bytes());
        }
        Ok(Job { program, child })
    }
}

struct Job {
    program: String,
    child: Child,
}

impl Job {
    fn finish(mut self) -> Result<String, Error> {
        let ended = collect(&mut self.child, TIME_LIMIT, MAX_OUTPUT);
        if ended.is_err() {
            // It hangs or raves; there is nobody else to end it.
            let _ = self.child.kill();
        }
        let status = self.child.wait();
        let failed = |source| Error::Run {
            program: self.program.clone(),
            source,
        };
        let (output, complaint) = ended.map_err(failed)?;
        let status = status.map_err(failed)?;
        if status.success() {
            // An app's comment may hold any bytes; ours are ASCII and come through unchanged.
            return Ok(String::from_utf8_lossy(&output).into_owned());
        }
        let stderr = String::from_utf8_lossy(&complaint)
            .trim()
            .chars()
            .take(MAX_COMPLAINT)
            .collect();
        Err(Error::Refused {
            program: self.program,
            status: status.to_string(),
            stderr,
        })
    }
}

/// Reads what a child prints to both of its pipes, until it has closed them.
fn collect(child: &mut Child, time: Duration, most: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let until = Instant::now() + time;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    while stdout.is_some() || stderr.is_some() {
        let pipes = [
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        let mut polled: Vec<PollFd<'_>> = pipes
            .iter()
            .flatten()
            .map(|&fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).map_err(|e| io::Error::other(e.to_string()))?;
        match poll(&mut polled, left) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end")),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = polled
            .iter()
            .map(|p| p.revents().is_some_and(|r| !r.is_empty()));
        let (first, second) = (ready.next(), ready.next());
        let on_stdout = stdout.is_some() && first == Some(true);
        let on_stderr = if stdout.is_some() { second } else { first } == Some(true);
        if on_stdout {
            take(&mut stdout, &mut output)?;
        }
        if on_stderr {
            take(&mut stderr, &mut complaint)?;
        }
        if output.len() + complaint.len() > most {
            return Err(io::Error::other(
                "it prints more than any sane set of rules",
            ));
        }
    }
    Ok((output, complaint))
}

/// Takes what a pipe has; at its end, takes the pipe away.
fn take(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    let mut part = [0; 16 * 1024];
    match open.read(&mut part)? {
        0 => *pipe = None,
        n => into.extend(part.iter().take(n)),
    }
    Ok(())
}

fn program(flavour: Flavour, family: Family, action: &str) -> String {
    let base = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{base}-{flavour}-{action}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Job {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Job {
            program: "iptables-x".into(),
            child: command.spawn().unwrap(),
        }
    }

    #[test]
    fn both_pipes_are_read_to_their_end() {
        let long = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                    echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done";
        assert_eq!(shell(long).finish().unwrap().len(), 3000 * 41);
    }

    #[test]
    fn a_refusal_carries_what_was_said() {
        let error = shell("echo why >&2; exit 3")
            .finish()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("iptables-x") && error.contains("why") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn what_hangs_or_raves_is_given_up() {
        let mut hangs = shell("exec sleep 60");
        let error = collect(&mut hangs.child, Duration::from_millis(20), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        hangs.child.kill().unwrap();
        hangs.child.wait().unwrap();
        assert!(matches!(shell("exec yes").finish(), Err(Error::Run { .. })));
    }
}
