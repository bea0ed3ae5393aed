//! One pod's life on its node: namespace, CNI ADD until it succeeds, containers with restarts, readiness, and back.
//!
//! Whatever happens, the last word to the controllers is `Gone`, sent when DEL has been called and the namespace's name
//! is free again. As with the real kubelet, a failed ADD is undone by DEL and tried again with a new sandbox.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use weft_netns::Netns;

use crate::cni::{Attachment, Network, addresses};
use crate::container::{Output, Process};
use crate::object::{list, map, text};
use crate::topology::{NETNS_DIRECTORY, Node, drop_name, ip, named_namespace};
use crate::{control::pods::ports, listen};

/// Between two attempts to make a sandbox; doubles up to the second.
const SANDBOX_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Between two starts of a container that ended; doubles up to the second.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// From SIGTERM to SIGKILL, unless the pod says `terminationGracePeriodSeconds`.
const GRACE: Duration = Duration::from_secs(2);

/// A node's kubelet.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) node: Arc<Node>,
    /// Stands in for every container without a command.
    pub(crate) sample: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) resolv: PathBuf,
    pub(crate) updates: UnboundedSender<Update>,
}

/// News of one pod.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) key: (String, String),
    pub(crate) uid: String,
    pub(crate) change: Change,
}

#[derive(Debug)]
pub(crate) enum Change {
    Attached {
        attachment: Arc<Attachment>,
        netns: Arc<Netns>,
        netns_name: String,
    },
    Processes(Vec<u32>),
    Ready,
    Waiting(String),
    Gone,
}

/// A pod to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) key: (String, String),
    pub(crate) uid: String,
    pub(crate) object: Value,
    pub(crate) hosts: PathBuf,
    pub(crate) stop: CancellationToken,
}

struct Sandbox {
    attachment: Attachment,
    netns: Arc<Netns>,
    name: String,
}

enum ContainerEvent {
    Started(usize, u32),
    Ended(usize, String),
}

impl Kubelet {
    /// Runs the pod until it is told to stop.
    pub(crate) async fn run(&self, job: Job) {
        if let Some(sandbox) = self.attach_until_done(&job).await {
            self.tell(
                &job,
                Change::Attached {
                    attachment: Arc::new(sandbox.attachment.clone()),
                    netns: Arc::clone(&sandbox.netns),
                    netns_name: sandbox.name.clone(),
                },
            );
            self.run_containers(&job, &sandbox).await;
            self.detach(&sandbox).await;
        }
        self.tell(&job, Change::Gone);
    }

    fn tell(&self, job: &Job, change: Change) {
        // The controllers are gone only when the whole lab ends.
        let _ = self.updates.send(Update {
            key: job.key.clone(),
            uid: job.uid.clone(),
            change,
        });
    }

    async fn attach_until_done(&self, job: &Job) -> Option<Sandbox> {
        let mut wait = SANDBOX_BACKOFF.0;
        for attempt in 0_u32.. {
            if job.stop.is_cancelled() {
                return None;
            }
            match self.attach(job, attempt).await {
                Ok(sandbox) => return Some(sandbox),
                Err(reason) => self.tell(job, Change::Waiting(reason)),
            }
            tokio::select! {
                () = job.stop.cancelled() => return None,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(SANDBOX_BACKOFF.1),
            }
        }
        None
    }

    async fn attach(&self, job: &Job, attempt: u32) -> Result<Sandbox, String> {
        let (namespace, pod) = (&job.key.0, &job.key.1);
        let name = match attempt {
            0 => format!("{namespace}_{pod}"),
            n => format!("{namespace}_{pod}_{n}"),
        };
        let netns = named_namespace(&name).map_err(|e| format!("{e:#}"))?;
        let loopback = ip(&netns, &["link set lo up".to_owned()]).map_err(|e| format!("{e:#}"));
        let network = Network::load(&self.node.paths.cni_conf);
        let network = match (loopback, network) {
            (Ok(()), Ok(network)) => network,
            (Err(e), _) => return Err(forget(&name, e)),
            (_, Err(e)) => return Err(forget(&name, e.to_string())),
        };
        let container_id = format!("{}{attempt:032x}", job.uid.replace('-', ""));
        let attachment = Attachment {
            arguments: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID={}",
                job.uid
            ),
            container_id,
            netns: Path::new(NETNS_DIRECTORY).join(&name),
            network,
            result: Value::Null,
        };
        let mut sandbox = Sandbox {
            attachment,
            netns: Arc::new(netns),
            name,
        };
        match self.node.runtime().add(&mut sandbox.attachment).await {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                self.detach(&sandbox).await;
                Err(error.to_string())
            }
        }
    }

    async fn detach(&self, sandbox: &Sandbox) {
        if let Err(error) = self.node.runtime().del(&sandbox.attachment).await {
            tracing::warn!(pod = sandbox.name, %error, "CNI DEL failed");
        }
        drop_name(&sandbox.name);
    }

    async fn run_containers(&self, job: &Job, sandbox: &Sandbox) {
        let (tell, mut events) = unbounded_channel();
        let mut running = tokio::task::JoinSet::new();
        let containers = list(&job.object, "/spec/containers");
        for (index, container) in containers.iter().enumerate() {
            let process = self.process(job, sandbox, container);
            let grace = grace(&job.object);
            running.spawn(keep_running(
                index,
                process,
                tell.clone(),
                job.stop.clone(),
                grace,
            ));
        }
        self.follow(job, sandbox, containers.len(), &mut events)
            .await;
        while running.join_next().await.is_some() {}
    }

    /// Tells readiness until the pod is stopped.
    async fn follow(
        &self,
        job: &Job,
        sandbox: &Sandbox,
        containers: usize,
        events: &mut UnboundedReceiver<ContainerEvent>,
    ) {
        let wanted = ports(&job.object);
        let mut pids: BTreeMap<usize, u32> = BTreeMap::new();
        let mut ready = false;
        loop {
            tokio::select! {
                () = job.stop.cancelled() => return,
                Some(event) = events.recv() => {
                    ready = false;
                    match event {
                        ContainerEvent::Started(index, pid) => { pids.insert(index, pid); }
                        ContainerEvent::Ended(index, why) => {
                            pids.remove(&index);
                            self.tell(job, Change::Waiting(why));
                        }
                    }
                    self.tell(job, Change::Processes(pids.values().copied().collect()));
                }
                () = listen::all(&sandbox.netns, &wanted), if !ready && pids.len() == containers => {
                    ready = true;
                    self.tell(job, Change::Ready);
                }
            }
        }
    }

    fn process(&self, job: &Job, sandbox: &Sandbox, container: &Value) -> Process {
        let strings = |field: &str| {
            let found = list(container, field).iter().filter_map(Value::as_str);
            found.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut arguments = strings("/command");
        let own = arguments.is_empty();
        if own {
            arguments = vec![self.sample.to_string_lossy().into_owned()];
        } else {
            arguments.extend(strings("/args"));
        }
        let ips = addresses(&sandbox.attachment.result);
        let mut environment = if own {
            sample_environment(job, container)
        } else {
            Vec::new()
        };
        environment.push(("HOSTNAME".to_owned(), job.key.1.clone()));
        environment.extend(declared_environment(job, container, &ips));
        let name = text(container, "/name").unwrap_or("main");
        let log = format!("pod-{}-{}-{name}.log", job.key.0, job.key.1);
        Process {
            netns: Arc::clone(&sandbox.netns),
            hosts: job.hosts.clone(),
            resolv: self.resolv.clone(),
            arguments,
            environment,
            output: Output::File(self.logs.join(log)),
        }
    }
}

fn forget(name: &str, reason: String) -> String {
    drop_name(name);
    reason
}

fn grace(pod: &Value) -> Duration {
    let seconds = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_u64);
    seconds.map_or(GRACE, Duration::from_secs)
}

/// What our sample app must know to stand in for the user's image.
fn sample_environment(job: &Job, container: &Value) -> Vec<(String, String)> {
    let labels = map(&job.object, "/metadata/labels");
    let service = ["app.kubernetes.io/name", "app"]
        .iter()
        .find_map(|l| labels.get(*l));
    let version = ["app.kubernetes.io/version", "version"]
        .iter()
        .find_map(|l| labels.get(*l));
    let own = json!({"spec": {"containers": [container]}});
    let listen: Vec<String> = ports(&own)
        .into_iter()
        .map(|(name, port, udp)| format!("{}:{port}", if udp { "udp" } else { &name }))
        .collect();
    let pairs = [
        ("SERVICE", service.unwrap_or(&job.key.1).as_str()),
        ("VERSION", version.map_or("latest", String::as_str)),
        ("POD", &job.key.1),
        ("NAMESPACE", &job.key.0),
        ("PORTS", &listen.join(",")),
    ];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn declared_environment(job: &Job, container: &Value, ips: &[IpAddr]) -> Vec<(String, String)> {
    let found = list(container, "/env").iter().filter_map(|entry| {
        let name = text(entry, "/name")?.to_owned();
        if let Some(value) = text(entry, "/value") {
            return Some((name, value.to_owned()));
        }
        let value = match text(entry, "/valueFrom/fieldRef/fieldPath")? {
            "metadata.name" => job.key.1.clone(),
            "metadata.namespace" => job.key.0.clone(),
            "metadata.uid" => job.uid.clone(),
            "status.podIP" => ips.first()?.to_string(),
            "spec.nodeName" => text(&job.object, "/spec/nodeName")?.to_owned(),
            _ => return None,
        };
        Some((name, value))
    });
    found.collect()
}

/// Starts a container again whenever it ends, until `stop`.
async fn keep_running(
    index: usize,
    process: Process,
    tell: UnboundedSender<ContainerEvent>,
    stop: CancellationToken,
    grace: Duration,
) {
    let mut wait = RESTART_BACKOFF.0;
    loop {
        let why = match process.clone().start().await {
            Ok(mut child) => {
                let _ = tell.send(ContainerEvent::Started(index, child.id().unwrap_or(0)));
                tokio::select! {
                    status = child.wait() => match status {
                        Ok(status) => format!("container ended: {status}"),
                        Err(error) => format!("container cannot be waited for: {error}"),
                    },
                    () = stop.cancelled() => return terminate(child, grace).await,
                }
            }
            Err(error) => error.to_string(),
        };
        let _ = tell.send(ContainerEvent::Ended(index, why));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RESTART_BACKOFF.1),
        }
    }
}

/// SIGTERM to the container's process group, SIGKILL after the grace period.
async fn terminate(mut child: Child, grace: Duration) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    let Some(group) = group else { return };
    let _ = killpg(group, Signal::SIGTERM);
    if tokio::time::timeout(grace, child.wait()).await.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}
