//! An operator process, a directory of manifests and clients of it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_tables::{ClientConfig, Handle, NodeKind, State, start};

/// Longest wait for anything that should happen at once, on a machine that does much else.
pub(crate) const WAIT: Duration = Duration::from_secs(120);
/// Between two looks at what can only be asked, not awaited: processes behind a port.
const PERIOD: Duration = Duration::from_millis(20);

/// What the first attempt that succeeds yields; in vain, what the last one saw.
pub(crate) async fn until<T, E: Display>(
    what: &str,
    attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    until_within(WAIT, what, attempt).await
}

/// The same for what takes longer than [`WAIT`].
pub(crate) async fn until_within<T, E: Display>(
    patience: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut last = String::new();
    let succeeds = async {
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(seen) => last = seen.to_string(),
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    let waited = tokio::time::timeout(patience, succeeds).await;
    waited.unwrap_or_else(|_| panic!("not in time: {what}; last seen: {last}"))
}

/// The value if it is as asked, for [`until`].
pub(crate) fn check<T>(value: T, holds: impl FnOnce(&T) -> bool) -> Result<T, T> {
    if holds(&value) { Ok(value) } else { Err(value) }
}

/// A free loopback port.
pub(crate) fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) struct Mesh {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    operator: Option<Child>,
}

impl Mesh {
    /// A running operator over these files.
    pub(crate) async fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mesh")).unwrap();
        let mut mesh = Self {
            dir,
            grpc: free_port(),
            http: free_port(),
            operator: None,
        };
        for (name, text) in files {
            mesh.write(name, text);
        }
        mesh.start_operator().await;
        mesh
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mesh").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) async fn start_operator(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_weft-operator"))
            .arg("--manifests")
            .arg(self.dir.path().join("mesh"))
            .arg("--listen")
            .arg(self.grpc.to_string())
            .arg("--metrics-listen")
            .arg(self.http.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.operator = Some(child);
        self.until("/healthz/ready", |answer| answer.contains(" 200 "))
            .await;
    }

    /// An answer of the metrics port, once it is as asked.
    pub(crate) async fn until(&self, path: &str, holds: impl Fn(&str) -> bool) -> String {
        until_page(self.http, path, holds).await
    }

    /// kill -9.
    pub(crate) async fn kill_operator(&mut self) {
        self.operator.take().unwrap().kill().await.unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn stop_operator(&mut self) -> Option<i32> {
        let mut child = self.operator.take().unwrap();
        let pid = child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .arg(pid)
                .status()
                .await
                .unwrap()
                .success()
        );
        tokio::time::timeout(WAIT, child.wait())
            .await
            .expect("it does not stop")
            .unwrap()
            .code()
    }

    /// Head and body of an answer of the metrics port.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        get(self.http, path).await
    }

    /// Value of a series of `/metrics`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}"))
            .parse()
            .unwrap()
    }

    pub(crate) fn client(&self, node: &str, kind: NodeKind) -> Client {
        Client::start(self.grpc, node, kind, &self.dir.path().join(node))
    }
}

/// Head and body of an answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// Head and body of an answer, once it is as asked.
pub(crate) async fn until_page(
    address: SocketAddr,
    path: &str,
    holds: impl Fn(&str) -> bool,
) -> String {
    until(path, async || {
        let answer = get(address, path).await;
        check(answer.unwrap_or_default(), |answer| holds(answer))
    })
    .await
}

/// A client whose owner uses everything at once, as agent and proxy do.
pub(crate) struct Client {
    pub(crate) handle: Handle,
    shutdown: CancellationToken,
    owner: JoinHandle<()>,
}

impl Client {
    pub(crate) fn start(grpc: SocketAddr, node: &str, kind: NodeKind, state_dir: &Path) -> Self {
        Self::with_token(grpc, node, kind, state_dir, None)
    }

    pub(crate) fn with_token(
        grpc: SocketAddr,
        node: &str,
        kind: NodeKind,
        state_dir: &Path,
        token_file: Option<PathBuf>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let config = ClientConfig {
            token_file,
            operator: format!("http://{grpc}"),
            node: node.into(),
            kind,
            state_dir: state_dir.to_owned(),
            version: "0.0.0-test".into(),
        };
        let handle = start(config, shutdown.clone()).unwrap();
        let (mut changed, applied) = (handle.changed(), handle.clone());
        let owner = tokio::spawn(async move {
            while changed.changed().await.is_ok() {
                let generation = changed.borrow_and_update().generation;
                applied.set_applied(generation);
            }
        });
        Self {
            handle,
            shutdown,
            owner,
        }
    }

    /// Waits until the tables are as asked.
    pub(crate) async fn until(&self, holds: impl Fn(&State) -> bool) -> Arc<State> {
        let mut changed = self.handle.changed();
        let seen = tokio::time::timeout(WAIT, changed.wait_for(|state| holds(state)));
        match seen.await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("not in time; the tables are {:#?}", self.handle.current()),
        }
    }

    /// Waits until the operator has the acknowledgement of everything that was sent so far, or the stream is gone.
    pub(crate) async fn until_connected(&self, connected: bool) {
        let mut status = self.handle.status();
        let seen = tokio::time::timeout(
            WAIT,
            status.wait_for(|status| status.connected == connected),
        );
        seen.await.expect("not in time").unwrap();
    }

    /// An orderly stop, after which the state is on disk.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(WAIT, self.handle.stopped())
            .await
            .expect("the client does not stop");
        self.owner.abort();
    }
}
