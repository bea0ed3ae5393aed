//! One proxy in the comparison: where its clients sit, what they dial, which process is charged.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::ValueEnum;
use weft_netns::Netns;

use crate::{idle, process::Process};

/// How long a proxy may take from start to its first answer.
const START: Duration = Duration::from_secs(15);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Captured pods, routing and metrics on.
    Weft,
    /// Behind REDIRECT in the node's namespace.
    Haproxy,
    /// In the client pod's own namespace: the control.
    HaproxyInPod,
    /// Behind REDIRECT in the node's namespace.
    Nginx,
    /// As nginx.
    Envoy,
    /// As nginx.
    Traefik,
}

impl Name {
    /// Everyone, in the order of the table.
    pub(crate) const ALL: [Self; 6] = [
        Self::Weft,
        Self::Haproxy,
        Self::HaproxyInPod,
        Self::Nginx,
        Self::Envoy,
        Self::Traefik,
    ];

    /// As on the command line and in the results.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Haproxy => "haproxy",
            Self::HaproxyInPod => "haproxy-in-pod",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
        }
    }
}

/// What is measured.
pub(crate) enum Subject {
    /// Started by the bench; ends with it.
    Own(Process),
    /// Kept by somebody else.
    Pid(u32),
}

/// A running proxy.
pub(crate) struct Contender {
    /// Who.
    pub(crate) name: Name,
    /// Network namespace of the clients.
    pub(crate) client: PathBuf,
    /// What clients dial.
    pub(crate) address: SocketAddr,
    /// Their Host header.
    pub(crate) host: String,
    /// Whose CPU and memory count.
    pub(crate) subject: Subject,
}

impl Contender {
    /// Root of the process family that is measured.
    pub(crate) fn pid(&self) -> u32 {
        match &self.subject {
            Subject::Own(process) => process.pid(),
            Subject::Pid(pid) => *pid,
        }
    }

    /// Waits until `probe` succeeds through the proxy.
    pub(crate) fn wait_until(
        &self,
        mut probe: impl FnMut(SocketAddr, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let namespace = Netns::open(&self.client).context("cannot enter the client's namespace")?;
        let deadline = std::time::Instant::now() + START;
        loop {
            let error = match namespace.run(|| probe(self.address, &self.host))? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if std::time::Instant::now() > deadline {
                let words = match &self.subject {
                    Subject::Own(process) => process.last_words(),
                    Subject::Pid(_) => String::new(),
                };
                bail!("{} does not answer: {error:#}\n{words}", self.name.label());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a first HTTP answer.
    pub(crate) fn wait_for_http(&self) -> anyhow::Result<()> {
        self.wait_until(|address, host| idle::ask_once(address, host).map(drop))
    }
}
