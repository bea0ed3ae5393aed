//! Runs the programs of iptables inside a pod's namespace, for both families at once: their time is mostly waiting.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use weft_netns::Netns;

use crate::backend::Flavour;
use crate::desired::Family;
use crate::error::Error;

/// Seconds that legacy iptables waits for its lock; ours is private to the pod, so only a hung process holds it.
const LOCK_WAIT_SECONDS: &str = "5";

/// Most bytes of a program's complaint that go into our own message.
const MAX_COMPLAINT: usize = 500;

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
        let mut child = spawned.map_err(|source| Error::Start {
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
        let failed = |program: &str, source: io::Error| Error::Start {
            program: program.to_owned(),
            source,
        };
        // Complaints are a few lines (the pipe holds 64 KiB), so reading one after the other cannot block.
        let mut output = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout
                .read_to_string(&mut output)
                .map_err(|e| failed(&self.program, e))?;
        }
        let mut complaint = Vec::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr
                .read_to_end(&mut complaint)
                .map_err(|e| failed(&self.program, e))?;
        }
        let status = self.child.wait().map_err(|e| failed(&self.program, e))?;
        if status.success() {
            return Ok(output);
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

fn program(flavour: Flavour, family: Family, action: &str) -> String {
    let base = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{base}-{flavour}-{action}")
}
