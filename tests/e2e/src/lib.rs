//! End-to-end verbs: one test, one room, one mesh of the real release binaries over two nodes.
//!
//! `WEFT_BIN_DIR` names the directory that `cargo xtask build` fills. Needs root, and fails without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing verb is a failing test, where it happened"
)]

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use weft_lab::isolate::{Side, enter_test};
use weft_lab::verb::http::{self, Response};
use weft_lab::{Lab, LabConfig, View};

/// For everything that is waited for; a loaded machine starts a dozen pods in it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `body` with a mesh whose pods run and whose nodes hold the newest tables. `test` is the test's own path, as
/// libtest prints it; `manifests` are files of a user's directory.
pub fn mesh<F: Future<Output = ()>>(
    test: &str,
    manifests: &[(&str, &str)],
    body: impl FnOnce(Mesh) -> F,
) {
    mesh_with(test, manifests, |_| {}, body);
}

/// The same with settings of its own.
pub fn mesh_with<F: Future<Output = ()>>(
    test: &str,
    manifests: &[(&str, &str)],
    settings: impl FnOnce(&mut LabConfig),
    body: impl FnOnce(Mesh) -> F,
) {
    let room = match enter_test(test).expect("needs root") {
        Side::Outside(code) => return assert_eq!(code, 0, "the test failed inside its room"),
        Side::Inside(room) => room,
    };
    let user = room.directory().join("manifests");
    std::fs::create_dir_all(&user).unwrap();
    for (file, text) in manifests {
        std::fs::write(user.join(file), text).unwrap();
    }
    let mut config = LabConfig::new(room.directory(), &binaries(), &user);
    config.report = std::sync::Arc::new(|event| eprintln!("{event:?}"));
    settings(&mut config);
    let _logs = LogsOfAFailure(config.logs.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let lab = Lab::up(config).await.unwrap();
        lab.settled(DEADLINE).await.unwrap();
        lab.synced(DEADLINE).await.unwrap();
        body(Mesh { lab }).await;
    });
}

/// Prints the daemons' last words when a test fails; the room takes the files with it.
struct LogsOfAFailure(PathBuf);

impl Drop for LogsOfAFailure {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for file in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("==== {}", file.path().display());
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)) {
                eprintln!("{line}");
            }
        }
    }
}

/// Lines of each log that a failure shows.
const LAST_WORDS: usize = 40;

fn binaries() -> PathBuf {
    std::env::var_os("WEFT_BIN_DIR")
        .map(PathBuf::from)
        .expect("WEFT_BIN_DIR: `cargo xtask test` sets it")
}

/// A running mesh.
pub struct Mesh {
    /// The lab below it.
    pub lab: Lab,
}

impl Mesh {
    /// Pods and objects as they are now.
    #[must_use]
    pub fn view(&self) -> std::sync::Arc<View> {
        self.lab.view()
    }

    /// GET from a pod of a deployment.
    pub async fn get(
        &self,
        (namespace, from): (&str, &str),
        url: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        let view = self.view();
        let pod = view
            .pod(namespace, from)
            .unwrap_or_else(|| panic!("no pod of {namespace}/{from}"));
        http::get_from(&view, pod, url, headers).await.unwrap()
    }

    /// Who answered a GET: the sample app's `version`.
    pub async fn version(&self, from: (&str, &str), url: &str, headers: &[(&str, &str)]) -> String {
        let response = self.get(from, url, headers).await;
        assert_eq!(response.status, 200, "{url}: {}", response.text());
        response.json().unwrap()["version"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Writes a manifest as a user would and waits until every node has it.
    pub async fn apply(&self, file: &str, text: &str) {
        self.lab.apply(file, text).await.unwrap();
        self.lab.settled(DEADLINE).await.unwrap();
        self.lab.synced(DEADLINE).await.unwrap();
    }

    /// All samples of the proxies' metrics.
    pub async fn metrics(&self) -> Vec<weft_lab::verb::metrics::Sample> {
        let mut all = Vec::new();
        for address in self.lab.proxy_metrics() {
            all.extend(weft_lab::verb::metrics::scrape(address).await.unwrap());
        }
        all
    }

    /// Waits until `check` holds for the proxies' metrics; records of a request are written after its answer.
    pub async fn until_metrics(
        &self,
        what: &str,
        check: impl Fn(&[weft_lab::verb::metrics::Sample]) -> bool,
    ) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !check(&self.metrics().await) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "metrics never showed: {what}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
