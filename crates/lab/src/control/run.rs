//! The loop of the controllers: whatever happened (the user saved a file, a pod became ready), look at everything
//! again, start and stop what the look says, write the state directory. One task owns all of it; there is no lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::Watcher;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cni::addresses;
use crate::control::cluster;
use crate::control::hosts::{self, Names};
use crate::control::pods::{self, WantedPod};
use crate::control::services::Addresses;
use crate::control::slices::{self, Member};
use crate::control::state::StateDirectory;
use crate::event::{Event, Report};
use crate::kubelet::{Change, Job, Kubelet, Update};
use crate::manifests::Manifests;
use crate::object::{Key, Objects};
use crate::view::{Pod, View};

/// A burst of file events is one reading.
const SETTLE: Duration = Duration::from_millis(15);

/// What the loop is made of.
pub(crate) struct Parts {
    /// The user's directories.
    pub(crate) manifests: Vec<PathBuf>,
    /// The state directory.
    pub(crate) state: PathBuf,
    /// Per-pod files.
    pub(crate) pods: PathBuf,
    /// Node objects.
    pub(crate) nodes: Objects,
    /// By node name.
    pub(crate) kubelets: BTreeMap<String, Arc<Kubelet>>,
    pub(crate) updates: mpsc::UnboundedReceiver<Update>,
    pub(crate) report: Report,
}

/// Handle on the running loop.
#[derive(Debug)]
pub(crate) struct Control {
    rescan: mpsc::UnboundedSender<oneshot::Sender<()>>,
    view: watch::Receiver<Arc<View>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Control {
    /// The newest view.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Reads the user's directory now; returns once the state directory shows it.
    pub(crate) async fn rescan(&self) {
        let (tell, told) = oneshot::channel();
        if self.rescan.send(tell).is_ok() {
            let _ = told.await;
        }
    }

    /// Stops all pods and the loop.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Running {
    pod: Pod,
    object: Value,
    owner: Key,
    revision: String,
    spec: Value,
    stop: CancellationToken,
}

struct Loop {
    parts: Parts,
    files: Manifests,
    objects: Arc<Objects>,
    wanted: BTreeMap<(String, String), WantedPod>,
    readings: u64,
    addresses: Addresses,
    state: StateDirectory,
    pods: BTreeMap<(String, String), Running>,
    told: BTreeSet<String>,
    view: watch::Sender<Arc<View>>,
    tasks: TaskTracker,
}

/// Reads the directory once, then goes on in a task of its own.
///
/// # Errors
/// The user's directory cannot be watched, or the state directory cannot be made.
pub(crate) fn start(parts: Parts) -> anyhow::Result<Control> {
    let (changed, changes) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if !matches!(event, Ok(e) if e.kind.is_access()) {
            let _ = changed.send(());
        }
    })
    .context("cannot make an inotify instance")?;
    for directory in &parts.manifests {
        watcher
            .watch(directory, notify::RecursiveMode::Recursive)
            .with_context(|| format!("cannot watch {}", directory.display()))?;
    }
    let (view, seen) = watch::channel(Arc::default());
    let (rescan, rescans) = mpsc::unbounded_channel();
    let state = StateDirectory::new(&parts.state)
        .with_context(|| format!("cannot make {}", parts.state.display()))?;
    let mut control = Loop {
        parts,
        files: Manifests::default(),
        objects: Arc::default(),
        wanted: BTreeMap::new(),
        readings: 0,
        addresses: Addresses::default(),
        state,
        pods: BTreeMap::new(),
        told: BTreeSet::new(),
        view,
        tasks: TaskTracker::new(),
    };
    control.read();
    control.turn();
    let stop = CancellationToken::new();
    let task = tokio::spawn(control.run(changes, rescans, stop.clone(), watcher));
    Ok(Control {
        rescan,
        view: seen,
        stop,
        task,
    })
}

impl Loop {
    async fn run(
        mut self,
        mut changes: mpsc::UnboundedReceiver<()>,
        mut rescans: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
        stop: CancellationToken,
        _watcher: notify::RecommendedWatcher,
    ) {
        loop {
            let mut waiting = None;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(tell) = rescans.recv() => {
                    self.read();
                    waiting = Some(tell);
                }
                Some(()) = changes.recv() => {
                    tokio::time::sleep(SETTLE).await;
                    while changes.try_recv().is_ok() {}
                    self.read();
                }
                Some(update) = self.parts.updates.recv() => self.take(update),
            }
            while let Ok(update) = self.parts.updates.try_recv() {
                self.take(update);
            }
            self.turn();
            if let Some(tell) = waiting {
                let _ = tell.send(());
            }
        }
        for running in self.pods.values() {
            running.stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn read(&mut self) {
        let reading = self.files.read(&self.parts.manifests);
        for problem in reading.problems {
            self.tell(Event::Warning(problem));
        }
        self.wanted = pods::wanted(&reading.objects);
        for warning in pods::unplayed(&reading.objects) {
            self.tell_once(warning);
        }
        self.objects = Arc::new(reading.objects);
        self.readings += 1;
    }

    fn tell(&self, event: Event) {
        (self.parts.report)(event);
    }

    fn tell_once(&mut self, warning: String) {
        if self.told.insert(warning.clone()) {
            self.tell(Event::Warning(warning));
        }
    }

    fn take(&mut self, update: Update) {
        let Some(running) = self
            .pods
            .get_mut(&update.key)
            .filter(|r| r.pod.uid == update.uid)
        else {
            return;
        };
        let pod = &mut running.pod;
        match update.change {
            Change::Attached {
                attachment,
                netns,
                netns_name,
            } => {
                pod.ips = addresses(&attachment.result);
                pod.attachment = Some(attachment);
                pod.netns = Some(netns);
                pod.netns_name = netns_name;
                pod.waiting = "its ports do not listen yet".to_owned();
            }
            Change::Processes(pids) => pod.pids = pids,
            Change::Ready => {
                pod.ready = true;
                pod.waiting.clear();
                let text = format!("{}/{} on {}", pod.namespace, pod.name, pod.node);
                self.tell(Event::PodReady(text));
            }
            Change::Waiting(why) => {
                pod.ready = false;
                pod.waiting.clone_from(&why);
                let text = format!("Pod {}/{}: {why}", pod.namespace, pod.name);
                self.tell_once(text);
            }
            Change::Gone => {
                if let Some(gone) = self.pods.remove(&update.key) {
                    let _ = fs::remove_file(&gone.pod.hosts_file);
                }
            }
        }
    }

    /// One look at everything. New pods are in the state directory before their ADD begins.
    fn turn(&mut self) {
        self.stop_unwanted();
        let jobs = self.start_missing();
        self.publish();
        for (node, job) in jobs {
            if let Some(kubelet) = self.parts.kubelets.get(&node) {
                let kubelet = Arc::clone(kubelet);
                self.tasks.spawn(async move { kubelet.run(job).await });
            }
        }
    }

    fn stop_unwanted(&mut self) {
        let mut ready: BTreeMap<(&Key, &str), usize> = BTreeMap::new();
        for running in self.pods.values().filter(|r| r.pod.ready) {
            *ready
                .entry((&running.owner, &running.revision))
                .or_default() += 1;
        }
        let mut stop = Vec::new();
        for (key, running) in &self.pods {
            let keep = match self.wanted.get(key) {
                Some(wanted) => *wanted.spec() == running.spec,
                None => {
                    // An older revision stays until the newer one can take over.
                    let newer: Vec<_> = self
                        .wanted
                        .values()
                        .filter(|w| w.owner == running.owner)
                        .collect();
                    newer.first().is_some_and(|w| {
                        let count = ready.get(&(&w.owner, w.revision.as_str()));
                        w.revision != running.revision && count.copied().unwrap_or(0) < newer.len()
                    })
                }
            };
            if !keep {
                stop.push(key.clone());
            }
        }
        for key in stop {
            if let Some(running) = self.pods.get_mut(&key) {
                running.pod.terminating = true;
                running.pod.ready = false;
                running.stop.cancel();
            }
        }
    }

    fn start_missing(&mut self) -> Vec<(String, Job)> {
        let nodes: Vec<String> = self.parts.kubelets.keys().cloned().collect();
        let mut jobs = Vec::new();
        for (key, wanted) in self.wanted.clone() {
            if let Some(running) = self.pods.get_mut(&key) {
                // Labels and annotations of a running pod may change at any time.
                let uid = running.object["metadata"]["uid"].take();
                running.object["metadata"] = wanted.object["metadata"].clone();
                running.object["metadata"]["uid"] = uid;
                running.pod.labels = wanted.labels();
                continue;
            }
            let bound: Vec<_> = self
                .pods
                .values()
                .map(|r| (r.owner.clone(), r.pod.node.clone()))
                .collect();
            match pods::place(&wanted, &nodes, &bound) {
                Ok(node) => match self.bind(&wanted, &node) {
                    Ok(job) => jobs.push((node, job)),
                    Err(error) => self.tell_once(format!("Pod {}/{}: {error}", key.0, key.1)),
                },
                Err(problem) => self.tell_once(problem),
            }
        }
        jobs
    }

    fn bind(&mut self, wanted: &WantedPod, node: &str) -> std::io::Result<Job> {
        let uid = fs::read_to_string("/proc/sys/kernel/random/uuid")?
            .trim()
            .to_owned();
        let hosts_file = self.parts.pods.join(format!("{uid}.hosts"));
        let mut object = wanted.object.clone();
        object["metadata"]["uid"] = json!(uid);
        object["spec"]["nodeName"] = json!(node);
        let (namespace, name) = wanted.key.clone();
        let pod = Pod {
            namespace,
            name,
            uid: uid.clone(),
            owner: wanted.owner.name.clone(),
            node: node.to_owned(),
            labels: wanted.labels(),
            waiting: "CNI ADD has not succeeded yet".to_owned(),
            hosts_file: hosts_file.clone(),
            ..Pod::default()
        };
        let stop = CancellationToken::new();
        let job = Job {
            key: wanted.key.clone(),
            uid,
            object: object.clone(),
            hosts: hosts_file,
            stop: stop.clone(),
        };
        let running = Running {
            pod,
            object,
            owner: wanted.owner.clone(),
            revision: wanted.revision.clone(),
            spec: wanted.spec().clone(),
            stop,
        };
        self.pods.insert(wanted.key.clone(), running);
        Ok(job)
    }

    /// Writes hosts files and state directory, then shows the new view.
    fn publish(&mut self) {
        let services = self.addresses.complete(&self.objects);
        let members: Vec<Member<'_>> = self
            .pods
            .values()
            .map(|r| Member {
                pod: &r.pod,
                object: &r.object,
            })
            .collect();
        let mut names = Names::new();
        let mut objects = self.parts.nodes.clone();
        for (key, service) in &services {
            let slices = slices::of_service(key, service, &members);
            names.insert(
                (key.namespace.clone(), key.name.clone()),
                cluster::addresses_of(service, &slices),
            );
            objects.extend(slices);
        }
        objects.extend(services);
        objects.extend(cluster::missing_namespaces(&self.objects));
        for running in self.pods.values() {
            let key = Key::new("Pod", &running.pod.namespace, &running.pod.name);
            objects.insert(key, cluster::with_status(&running.pod, &running.object));
        }
        if let Err(error) = self.write(&names, &objects) {
            self.tell_once(format!("the state directory cannot be written: {error}"));
        }
        let settled = self.pods.len() == self.wanted.len()
            && self.wanted.iter().all(|(key, wanted)| {
                self.pods
                    .get(key)
                    .is_some_and(|r| r.pod.ready && r.revision == wanted.revision)
            });
        let pods = self
            .pods
            .iter()
            .map(|(key, r)| (key.clone(), r.pod.clone()))
            .collect();
        let objects = Arc::clone(&self.objects);
        let view = View {
            pods,
            objects,
            readings: self.readings,
            settled,
            names,
        };
        self.view.send_replace(Arc::new(view));
    }

    fn write(&mut self, names: &Names, objects: &Objects) -> std::io::Result<()> {
        for running in self.pods.values() {
            let pod = &running.pod;
            let own: Vec<_> = pod.ips.iter().map(|ip| (*ip, pod.name.clone())).collect();
            hosts::write(&pod.hosts_file, &hosts::render(names, &pod.namespace, &own))?;
        }
        self.state.sync(objects)
    }
}
