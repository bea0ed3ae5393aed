//! Weft on the cluster as a user installs it: images onto the nodes, the checkout's chart by the real helm; and what its
//! parts say of themselves. A failure of helm quotes the pods' state and logs, for "timed out" alone helps nobody.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::config::{Config, Progress};
use crate::programs;

/// Where it is installed.
pub const NAMESPACE: &str = "weft-system";
/// Longest installation or upgrade that helm waits for.
const TIMEOUT: &str = "3m";

/// A page that is not here by then is none.
const PAGE_DEADLINE: Duration = Duration::from_secs(10);

/// One of Weft's programs on the cluster, which is also the ending of its image's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One per node: plugin, rules, sockets.
    Agent,
    /// One per node: the data plane.
    Proxy,
    /// Compiles and pushes.
    Operator,
}

impl Part {
    const ALL: [Self; 3] = [Self::Agent, Self::Proxy, Self::Operator];

    fn name(self) -> &'static str {
        match self {
            Self::Agent => "weft-agent",
            Self::Proxy => "weft-proxy",
            Self::Operator => "weft-operator",
        }
    }

    /// Where it serves its metrics.
    fn port(self) -> u16 {
        match self {
            Self::Agent => 15019,
            Self::Proxy => 15020,
            Self::Operator => 15014,
        }
    }

    /// Selects its pods.
    #[must_use]
    pub fn selector(self) -> String {
        format!("app.kubernetes.io/name={}", self.name())
    }
}

/// An installed mesh.
#[derive(Debug)]
pub struct Mesh<'a> {
    cluster: &'a Cluster,
    helm: PathBuf,
}

impl<'a> Mesh<'a> {
    /// Imports the images (not into somebody's own cluster: there they are in its registry) and installs the chart with
    /// these values (`proxy.drainSeconds=5`). Returns when all of it is ready.
    ///
    /// # Errors
    /// An image is missing, or helm fails.
    pub fn install(cluster: &'a Cluster, config: &Config, values: &[&str]) -> anyhow::Result<Self> {
        if !cluster.is_given() {
            for part in Part::ALL {
                let file = format!("images/{}.tar", part.name());
                let file = config.binaries.join(file);
                let archive = fs::read(&file).with_context(|| {
                    format!("cannot read {}: run `cargo xtask images`", file.display())
                })?;
                cluster.import(&archive)?;
            }
        }
        let mesh = Self::find(cluster, &config.progress)?;
        mesh.chart(&["--install", "--create-namespace"], values)?;
        Ok(mesh)
    }

    /// A mesh that is installed already.
    ///
    /// # Errors
    /// helm cannot be built.
    pub fn find(cluster: &'a Cluster, progress: &Progress) -> anyhow::Result<Self> {
        let helm = programs::HELM.ensure(progress)?.join("helm");
        Ok(Self { cluster, helm })
    }

    /// Where it is installed.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Changes values; returns when all of it is ready.
    ///
    /// # Errors
    /// helm fails.
    pub fn upgrade(&self, values: &[&str]) -> anyhow::Result<()> {
        self.chart(&[], values)
    }

    /// Removes it; the orderly way is `upgrade(&["leave=true"])` first.
    ///
    /// # Errors
    /// helm fails.
    pub fn uninstall(&self) -> anyhow::Result<()> {
        self.helm(&["uninstall", "weft", "-n", NAMESPACE, "--wait"])
    }

    fn chart(&self, more: &[&str], values: &[&str]) -> anyhow::Result<()> {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/charts/weft");
        let mut all = vec!["upgrade", "weft", chart, "-n", NAMESPACE];
        all.extend(["--set", "image.registry=weft.local", "--reuse-values"]);
        all.extend(["--wait", "--timeout", TIMEOUT]);
        all.extend(more);
        for value in values {
            all.extend(["--set", value]);
        }
        self.helm(&all)
    }

    /// Any other command of helm.
    ///
    /// # Errors
    /// It fails; its words, the pods' state and the ends of their logs are in the message.
    pub fn helm(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command: Command = self.cluster.command(&self.helm);
        let output = command.args(arguments).output();
        let output = output.context("cannot start helm")?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("helm {}: {why}{}", arguments.join(" "), self.state());
    }

    /// Pods and the ends of their logs, for a person who asks why.
    #[must_use]
    pub fn state(&self) -> String {
        let say = |line: &[&str]| self.cluster.kubectl_ok(line).unwrap_or_default();
        let mut text = say(&["get", "pods", "-A", "-o", "wide"]);
        text += &say(&["-n", NAMESPACE, "describe", "pods"]);
        for part in Part::ALL {
            let selector = part.selector();
            text += &say(&["-n", NAMESPACE, "logs", "-l", &selector, "--tail", "20"]);
        }
        text
    }

    /// The sum of all series of a part's pods that hold these words. A pod that is about to end does not answer and does
    /// not count.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn sum(&self, part: Part, words: &[&str]) -> anyhow::Result<f64> {
        let pages = self.pages(part, "metrics")?;
        let series = pages
            .iter()
            .flat_map(|page| page.lines())
            .filter(|line| words.iter().all(|word| line.contains(word)));
        Ok(series
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// A page of each of a part's pods that answers.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn pages(&self, part: Part, path: &str) -> anyhow::Result<Vec<String>> {
        let selector = part.selector();
        let get = ["pods", "-n", NAMESPACE, "-l", &selector];
        let pods = self.cluster.get(&get)?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let pages = pods.map(|pod| self.page(pod, part.port(), path));
        Ok(pages.filter_map(Result::ok).collect())
    }

    fn page(&self, pod: &Value, port: u16, path: &str) -> anyhow::Result<String> {
        let Ok(room) = self.cluster.room() else {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let url = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:{port}/proxy/{path}");
            return self.cluster.kubectl_ok(&["get", "--raw", &url]);
        };
        // The control plane reaches every pod; kubectl would cost a hundred times as much.
        let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
        let address = SocketAddr::new(ip.parse().context("a pod without an address")?, port);
        let mut stream = room
            .netns()?
            .run(|| TcpStream::connect_timeout(&address, PAGE_DEADLINE))??;
        stream.set_read_timeout(Some(PAGE_DEADLINE))?;
        write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => bail!("http://{address}/{path} answers {answer}"),
        }
    }

    /// How many pods the agents hold captured.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn captured(&self) -> anyhow::Result<f64> {
        self.sum(Part::Agent, &["weft_agent_pods{", "state=\"captured\""])
    }

    /// Whether a part's pods are all gone.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn is_gone(&self, part: Part) -> anyhow::Result<bool> {
        let selector = part.selector();
        let pods = self
            .cluster
            .get(&["pods", "-n", NAMESPACE, "-l", &selector])?;
        Ok(pods["items"].as_array().is_none_or(Vec::is_empty))
    }

    /// Uid and restarts of each pod of a namespace.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn lives(&self, namespace: &str) -> anyhow::Result<Vec<(String, u64)>> {
        let pods = self.cluster.get(&["pods", "-n", namespace])?;
        let life = |pod: &Value| {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            (uid.to_owned(), restarts.as_u64().unwrap_or(0))
        };
        Ok(pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(life)
            .collect())
    }
}
