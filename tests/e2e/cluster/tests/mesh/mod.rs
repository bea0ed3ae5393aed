//! Weft on a test's cluster, as a user has it: images, helm, the metrics of its pods.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_cluster::{Cluster, Config, Progress, programs};

/// Anything that a cluster on a busy machine does at last.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);
/// Where the chart installs.
pub(crate) const SYSTEM: [&str; 2] = ["-n", "weft-system"];

/// An installation.
pub(crate) struct Mesh<'a> {
    pub(crate) cluster: &'a Cluster,
    helm: PathBuf,
}

impl<'a> Mesh<'a> {
    /// Gives the nodes Weft's images, unless it is somebody's own cluster: then they are in its registry. Nothing is
    /// installed yet.
    pub(crate) fn on(cluster: &'a Cluster, config: &Config) -> Self {
        let helm = programs::HELM.ensure(&Progress::stderr()).unwrap();
        let parts = ["agent", "proxy", "operator"].map(|part| format!("images/weft-{part}.tar"));
        for part in parts.iter().filter(|_| !cluster.is_given()) {
            let file = config.binaries.join(part);
            let archive = std::fs::read(&file)
                .unwrap_or_else(|e| panic!("{}: {e}; `cargo xtask images`", file.display()));
            cluster.import(&archive).unwrap();
        }
        let helm = helm.join("helm");
        Self { cluster, helm }
    }

    /// Installs the chart; returns when all of it is ready.
    pub(crate) fn install(&self, more: &[&str]) {
        self.upgrade(&[&["--install", "--create-namespace"], more].concat());
    }

    /// `helm upgrade` with the values that it has and these.
    pub(crate) fn upgrade(&self, more: &[&str]) {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/charts/weft");
        let mut all = vec!["upgrade", "weft", chart, "-n", "weft-system"];
        all.extend(["--set", "image.registry=weft.local", "--reuse-values"]);
        all.extend(["--wait", "--timeout", "3m"]);
        all.extend(more);
        self.helm(&all);
    }

    /// helm, which must succeed; gives what it prints.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        let mut command: Command = self.cluster.command(&self.helm);
        let output = command.args(arguments).output().unwrap();
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).into_owned();
        }
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("helm {}: {why}\n{}", arguments.join(" "), self.state());
    }

    /// What a person would look at when something is wrong.
    pub(crate) fn state(&self) -> String {
        let mut text = String::new();
        for what in [
            &["get", "pods", "-A", "-o", "wide"][..],
            &["-n", "weft-system", "describe", "pods"],
        ] {
            text += &self.cluster.kubectl_ok(what).unwrap_or_default();
        }
        for part in ["agent", "proxy", "operator"] {
            let selector = format!("app.kubernetes.io/name=weft-{part}");
            let logs = ["-n", "weft-system", "logs", "-l", &selector, "--tail", "20"];
            text += &self.cluster.kubectl_ok(&logs).unwrap_or_default();
        }
        text
    }

    /// How many pods the agents hold captured.
    pub(crate) fn captured(&self) -> f64 {
        self.sum("agent", 15019, &["weft_agent_pods{", "state=\"captured\""])
    }

    /// The sum of all series of a part's pods that hold these words.
    pub(crate) fn sum(&self, part: &str, port: u16, words: &[&str]) -> f64 {
        let selector = format!("app.kubernetes.io/name=weft-{part}");
        let pods = [&["pods", "-l", &selector][..], &SYSTEM].concat();
        let pods = self.cluster.get(&pods).unwrap();
        let mut sum = 0.0;
        for pod in pods["items"].as_array().unwrap() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let path = format!("/api/v1/namespaces/weft-system/pods/{name}:{port}/proxy/metrics");
            // A pod that is about to end does not answer.
            let get = self.cluster.kubectl_ok(&["get", "--raw", &path]);
            let text = get.unwrap_or_default();
            let series = text
                .lines()
                .filter(|line| words.iter().all(|word| line.contains(word)));
            sum += series
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
        }
        sum
    }

    /// Uid and restarts of each pod of a namespace.
    pub(crate) fn pods(&self, namespace: &str) -> Vec<(String, u64)> {
        let pods = self.cluster.get(&["pods", "-n", namespace]).unwrap();
        let pod = |pod: &Value| {
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
            (uid, restarts.as_u64().unwrap_or(0))
        };
        pods["items"].as_array().unwrap().iter().map(pod).collect()
    }
}

/// Waits until it gives something; else its last words are the failure's.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < until, "{what}: {why}"),
        }
        std::thread::sleep(PERIOD);
    }
}
