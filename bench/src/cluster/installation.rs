//! Weft on the cluster, installed as its guide says, and a deployment of pods that join it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use weft_cluster::{Cluster, Config, Mesh, Part};

use super::{MESHED, text};

/// Pods start, or leave, within this time on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// A page that has not come by then does not come.
const PAGE: Duration = Duration::from_secs(10);
/// Between two looks at a counter: this much too late a result may be.
const PERIOD: Duration = Duration::from_millis(2);
/// The pods: as many on each node as it takes.
const CROWD: &str = include_str!("crowd.yaml");

/// Where the parts' metrics are.
pub(crate) struct Installation<'c> {
    cluster: &'c Cluster,
    agents: Vec<SocketAddr>,
    proxies: Vec<SocketAddr>,
}

impl<'c> Installation<'c> {
    /// Imports the images, installs the chart, waits until all is ready.
    pub(crate) fn make(cluster: &'c Cluster, config: &Config) -> anyhow::Result<Self> {
        Mesh::install(cluster, config, &[])?;
        Ok(Self {
            cluster,
            agents: addresses(cluster, Part::Agent, 15019)?,
            proxies: addresses(cluster, Part::Proxy, 15020)?,
        })
    }

    /// Labels the namespace of so many running pods; gives the milliseconds until all are captured.
    pub(crate) fn label(&self, pods: usize) -> anyhow::Result<f64> {
        self.captured(0)?;
        self.cluster.apply(CROWD)?;
        self.scale(pods)?;
        let started = Instant::now();
        self.cluster
            .kubectl_ok(&["label", "namespace", MESHED, "weft.mesh/mode=enabled"])?;
        self.captured(pods)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    /// Brings the deployment to so many pods, all running, none of others left.
    pub(crate) fn scale(&self, pods: usize) -> anyhow::Result<()> {
        let replicas = format!("--replicas={pods}");
        self.cluster
            .kubectl_ok(&["-n", MESHED, "scale", "deployment/crowd", &replicas])?;
        match pods {
            0 => {
                let gone = ["-n", MESHED, "pods", "-l", "app=crowd"];
                self.cluster.wait("delete", &gone, PATIENCE)
            }
            _ => {
                let ready = format!("jsonpath={{.status.readyReplicas}}={pods}");
                let crowd = ["-n", MESHED, "deployment/crowd"];
                self.cluster.wait(&ready, &crowd, PATIENCE)
            }
        }
    }

    /// Waits until the agents hold so many pods captured.
    pub(crate) fn captured(&self, pods: usize) -> anyhow::Result<()> {
        let wanted = pods as f64;
        until(&format!("{pods} captured pods"), || {
            let word = "weft_agent_pods{state=\"captured\"}";
            let counts = self.values(&self.agents, word)?;
            Ok((counts.iter().sum::<f64>() - wanted).abs() < 0.5)
        })
    }

    /// How many ADDs of the plugin the agents have answered, and the seconds that they took for all.
    pub(crate) fn adds(&self) -> anyhow::Result<(f64, f64)> {
        let sum = |series: &str| -> anyhow::Result<f64> {
            Ok(self.values(&self.agents, series)?.iter().sum())
        };
        Ok((
            sum("weft_agent_cni_seconds_count{verb=\"add\"}")?,
            sum("weft_agent_cni_seconds_sum{verb=\"add\"}")?,
        ))
    }

    /// The generation by which each proxy decides.
    pub(crate) fn generations(&self) -> anyhow::Result<Vec<f64>> {
        self.values(&self.proxies, "weft_tables_generation")
    }

    /// Waits until every proxy decides by a later one than it did.
    pub(crate) fn beyond(&self, before: &[f64]) -> anyhow::Result<()> {
        until("a generation on all nodes", || {
            let now = self.generations()?;
            Ok(now.iter().zip(before).all(|(now, before)| now > before))
        })
    }

    fn values(&self, addresses: &[SocketAddr], series: &str) -> anyhow::Result<Vec<f64>> {
        let node = self.cluster.node(1)?.netns()?;
        let one = |address: &SocketAddr| {
            let page = node.run(|| page(*address))??;
            let line = page.lines().find(|line| line.starts_with(series));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
            anyhow::Ok(value.unwrap_or(0.0))
        };
        addresses.iter().map(one).collect()
    }
}

fn addresses(cluster: &Cluster, part: Part, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let selector = part.selector();
    let pods = cluster.get(&["pods", "-n", "weft-system", "-l", &selector])?;
    let pods = pods["items"].as_array().context("no list of pods")?;
    let address = |pod| Ok(SocketAddr::new(text(pod, "/status/podIP")?.parse()?, port));
    pods.iter().map(address).collect()
}

fn page(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PAGE)?;
    stream.set_read_timeout(Some(PAGE))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Waits until it is so.
fn until(what: &str, mut is: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is()? {
        if Instant::now() > end {
            bail!("{what}: not within {PATIENCE:?}");
        }
        std::thread::sleep(PERIOD);
    }
    Ok(())
}
