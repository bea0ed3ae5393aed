//! Weft in the comparison: a lab of one node with two captured pods, one pass between them, a VirtualService that every
//! request is matched against, metrics on as always.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tokio::runtime::Runtime;
use weft_lab::{Lab, LabConfig, Part, verb::metrics::scrape};

use crate::{
    contender::{Contender, Name, Subject},
    ground::{BULK_PORT, HTTP_PORT, SERVICE_PORT},
    peers::Mode,
    process::PROXY_CORE,
};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 9);
const HOST: &str = "server.bench.svc.cluster.local";
/// Building pods and compiling tables takes a fraction of this.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of each log that an error quotes.
const QUOTED_LINES: usize = 8;

/// The running lab. Its runtime turns only while something is asked of it, so that it costs no CPU in between.
pub(crate) struct Weft {
    runtime: Runtime,
    lab: Lab,
    node: String,
    /// False until the first contender was handed out.
    used: bool,
}

impl Weft {
    /// Builds the lab and waits for its pods.
    pub(crate) fn up(directory: &Path, binaries: &Path) -> anyhow::Result<Self> {
        let directory = directory.join("weft");
        let manifests = directory.join("manifests");
        fs::create_dir_all(&manifests)
            .with_context(|| format!("cannot make {}", manifests.display()))?;
        let own = std::env::current_exe().context("cannot find the bench's own file")?;
        fs::write(manifests.join("bench.yaml"), manifest(&own))
            .context("cannot write the manifests")?;
        let mut config = LabConfig::new(&directory, binaries, &manifests);
        config.nodes = 1;
        config.ipv6 = false;
        config
            .flags
            .insert(Part::Proxy, vec!["--workers".to_owned(), "1".to_owned()]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let logs = config.logs.clone();
        let up = runtime.block_on(async {
            let lab = Lab::up(config).await?;
            lab.settled(PATIENCE).await?;
            lab.synced(PATIENCE).await?;
            anyhow::Ok(lab)
        });
        // The room, and the logs in it, vanish with this process.
        let lab = up.with_context(|| format!("Weft does not come up\n{}", last_words(&logs)))?;
        let node = lab
            .nodes()
            .first()
            .map(|node| node.name.clone())
            .context("no node")?;
        Ok(Self {
            runtime,
            lab,
            node,
            used: false,
        })
    }

    /// The proxy as a contender, in a fresh process each time, like its peers.
    pub(crate) fn start(&mut self, mode: Mode) -> anyhow::Result<Contender> {
        if self.used {
            self.runtime.block_on(async {
                self.lab.stop(Part::Proxy, &self.node).await?;
                self.lab.start(Part::Proxy, &self.node).await?;
                self.lab.synced(PATIENCE).await
            })?;
        }
        self.used = true;
        let pid = self
            .lab
            .pid(Part::Proxy, &self.node)
            .context("no proxy runs")?;
        pin(pid)?;
        let client = self.lab.pod("bench", "client")?;
        let port = match mode {
            Mode::Http => SERVICE_PORT,
            Mode::Tcp => BULK_PORT,
        };
        Ok(Contender {
            name: Name::Weft,
            // By a process of it: the file of its name is mounted where the pod's own mounts are.
            client: PathBuf::from(format!(
                "/proc/{}/ns/net",
                client.pids.first().context("the client runs")?
            )),
            address: SocketAddr::new(IpAddr::V4(SERVICE), port),
            host: HOST.to_owned(),
            subject: Subject::Pid(pid),
        })
    }

    /// Series on the proxy's metrics page.
    pub(crate) fn series(&self) -> anyhow::Result<usize> {
        let address = *self.lab.proxy_metrics().first().context("no proxy runs")?;
        let samples = self.runtime.block_on(scrape(address))?;
        Ok(samples.len())
    }
}

/// All threads of the proxy to its core; threads to come inherit it.
fn pin(pid: u32) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(PROXY_CORE).context("cannot name a core")?;
    for entry in fs::read_dir(format!("/proc/{pid}/task")).context("the proxy is gone")? {
        let name = entry?.file_name();
        let thread = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .context("an odd thread")?;
        sched_setaffinity(Pid::from_raw(thread), &set).context("cannot pin the proxy")?;
    }
    Ok(())
}

/// The end of each log below `directory`.
fn last_words(directory: &Path) -> String {
    let Ok(entries) = fs::read_dir(directory) else {
        return String::new();
    };
    let mut words = String::new();
    for entry in entries.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(QUOTED_LINES));
        words.push_str(&format!("--- {}\n", entry.file_name().to_string_lossy()));
        last.for_each(|line| words.push_str(&format!("{line}\n")));
    }
    words
}

fn manifest(own: &Path) -> String {
    MANIFEST
        .replace("PROGRAM", &own.display().to_string())
        .replace("HTTP", &HTTP_PORT.to_string())
        .replace("BULK", &BULK_PORT.to_string())
        .replace("CLUSTER_IP", &SERVICE.to_string())
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: Namespace
metadata:
  name: bench
  labels: {weft.mesh/mode: enabled}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: bench}
spec:
  replicas: 1
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server, version: v1}}
    spec:
      containers:
      - name: server
        image: bench
        command: [PROGRAM, backend, --http, "0.0.0.0:HTTP", --bulk, "0.0.0.0:BULK"]
        ports:
        - {name: http, containerPort: HTTP}
        - {name: tcp-bulk, containerPort: BULK}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: bench}
spec:
  replicas: 1
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client, version: v1}}
    spec:
      containers:
      - name: client
        image: bench
        command: [sleep, infinity]
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: bench}
spec:
  clusterIP: CLUSTER_IP
  selector: {app: server}
  ports:
  - {name: http, port: 80, targetPort: HTTP}
  - {name: tcp-bulk, port: BULK, targetPort: BULK}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server, namespace: bench}
spec:
  host: server
  subsets:
  - {name: v1, labels: {version: v1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: bench}
spec:
  hosts: [server]
  http:
  - match:
    - headers: {end-user: {exact: jason}}
    route:
    - destination: {host: server, subset: v1}
  - match:
    - uri: {prefix: /neu}
    route:
    - destination: {host: server, subset: v1}
  - route:
    - destination: {host: server, subset: v1}
"#;
