//! The peers: their configurations, chosen as a competent user would for this job (keep-alive to both sides, no access
//! log, one worker), and the stage on which they play.

mod envoy;
mod haproxy;
mod nginx;
mod traefik;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    Common,
    contender::{Contender, Name, Subject},
    ground::{self, Ground, Redirect},
    process::{self, Process},
    weft::Weft,
};

/// What a proxy carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// HTTP/1.1, parsed.
    Http,
    /// Bytes.
    Tcp,
}

/// What a configuration needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'j> {
    mode: Mode,
    /// Port to listen on.
    listen: u16,
    /// Where to connect.
    backend: SocketAddr,
    /// For configuration files.
    directory: &'j Path,
}

/// Program and arguments.
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Launch {
    fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        Self {
            program: program.into(),
            arguments: arguments
                .iter()
                .map(|argument| (*argument).to_owned())
                .collect(),
        }
    }
}

/// The ground, the backend on it, and what is known of the peers.
pub(crate) struct Stage {
    ground: Ground,
    directory: PathBuf,
    common: Common,
    weft: Option<Weft>,
    _backend: Process,
}

const PEERS: [Name; 5] = [
    Name::Haproxy,
    Name::HaproxyInPod,
    Name::Nginx,
    Name::Envoy,
    Name::Traefik,
];
/// Each peer listens on its own port, so that all can run at once.
const FIRST_PORT: u16 = 15_101;

impl Stage {
    /// Builds the ground and starts the backend.
    pub(crate) fn build(common: &Common, directory: &Path) -> anyhow::Result<Self> {
        let redirects = PEERS.map(|name| Redirect {
            service: service(name),
            port: port(name),
            in_pod: name == Name::HaproxyInPod,
        });
        let ground = Ground::build(&redirects)?;
        let own = std::env::current_exe().context("cannot find the bench's own file")?;
        let backend = Process::start(
            process::inside(&ground.server(), &own)
                .arg("backend")
                .args(["--http", &format!("0.0.0.0:{}", ground::HTTP_PORT)])
                .args(["--bulk", &format!("0.0.0.0:{}", ground::BULK_PORT)]),
            &directory.join("backend.log"),
        )?;
        Ok(Self {
            ground,
            directory: directory.to_path_buf(),
            common: common.clone(),
            weft: None,
            _backend: backend,
        })
    }

    /// Starts one proxy; it may not answer yet.
    pub(crate) fn start(&mut self, name: Name, mode: Mode) -> anyhow::Result<Contender> {
        if name == Name::Weft {
            return self.start_weft(mode);
        }
        let directory = self.directory.join(name.label());
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let (backend_port, service_port) = match mode {
            Mode::Http => (ground::HTTP_PORT, ground::SERVICE_PORT),
            Mode::Tcp => (ground::BULK_PORT, ground::BULK_PORT),
        };
        let job = Job {
            mode,
            listen: port(name),
            backend: self.ground.backend(backend_port),
            directory: &directory,
        };
        let launch = self.launch(name, &job)?;
        let in_pod = name == Name::HaproxyInPod;
        let home = if in_pod {
            self.ground.sidecar()
        } else {
            self.ground.node()
        };
        let process = Process::start(
            process::inside_on_proxy_core(&home, &launch.program).args(&launch.arguments),
            &directory.join("log"),
        )?;
        Ok(Contender {
            name,
            client: if in_pod {
                self.ground.sidecar()
            } else {
                self.ground.client()
            },
            address: SocketAddr::from((service(name), service_port)),
            host: "server".to_owned(),
            subject: Subject::Own(process),
        })
    }

    fn start_weft(&mut self, mode: Mode) -> anyhow::Result<Contender> {
        let weft = match &mut self.weft {
            Some(weft) => weft,
            None => {
                let binaries = self
                    .common
                    .binaries
                    .as_deref()
                    .context("--binaries is missing")?;
                self.weft.insert(Weft::up(&self.directory, binaries)?)
            }
        };
        weft.start(mode)
    }

    fn launch(&self, name: Name, job: &Job<'_>) -> anyhow::Result<Launch> {
        match name {
            Name::Haproxy | Name::HaproxyInPod => haproxy::launch(job),
            Name::Nginx => nginx::launch(job),
            Name::Envoy => envoy::launch(
                job,
                self.common.envoy.as_deref().context("--envoy is missing")?,
            ),
            Name::Traefik => {
                let program = self
                    .common
                    .traefik
                    .as_deref()
                    .context("--traefik is missing")?;
                traefik::launch(job, program)
            }
            Name::Weft => anyhow::bail!("the lab starts Weft"),
        }
    }
}

/// The Service address whose traffic goes to `name`.
fn service(name: Name) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, 10 + name as u8)
}

fn port(name: Name) -> u16 {
    FIRST_PORT + name as u16
}

/// Writes a configuration file and gives its path as text.
fn write(job: &Job<'_>, name: &str, text: &str) -> anyhow::Result<String> {
    let path = job.directory.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}
