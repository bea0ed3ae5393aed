//! What all cases share: one cluster with Weft installed on it and the pods of `shop.yaml`; the stream of requests; looks
//! at facts (packet rules in a pod's network, series of the proxies, events).

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_cluster::{Cluster, Config, Mesh, Part};
use weft_netns::Netns;

use crate::load::{Load, Report, Target};

/// Longest wait for anything: kubelet alone may take 15 s until it tries a failed pod again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The pods of all cases.
const SHOP: &str = include_str!("shop.yaml");
/// Both have one part of a pod's rules each.
const SAVES: [&str; 2] = ["iptables-nft-save", "iptables-legacy-save"];

/// The cluster and what runs on it.
pub(crate) struct World<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) mesh: Mesh<'a>,
    /// Figures for the reader of the test's output.
    pub(crate) said: std::cell::RefCell<Vec<String>>,
}

impl<'a> World<'a> {
    /// Pods first, mesh second: they are taken in while they run.
    pub(crate) fn make(cluster: &'a Cluster, config: &Config) -> Self {
        cluster.apply(SHOP).unwrap();
        let mesh = Mesh::install(cluster, config, &["proxy.drainSeconds=5"]).unwrap();
        let world = Self {
            cluster,
            mesh,
            said: Default::default(),
        };
        for namespace in ["shop", "plain"] {
            let all = ["-n", namespace, "deployment", "--all"];
            world.wait("condition=Available", &all);
        }
        world
    }

    pub(crate) fn wait(&self, condition: &str, objects: &[&str]) {
        self.cluster.wait(condition, objects, PATIENCE).unwrap();
    }

    pub(crate) fn kubectl(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        self.cluster.kubectl_ok(&words).unwrap()
    }

    pub(crate) fn say(&self, line: impl Display) {
        eprintln!("          {line}");
        self.said.borrow_mut().push(line.to_string());
    }

    /// Requests from the client to the server, on the other node, while `fault` happens and a little before and after.
    pub(crate) fn under_load(&self, what: &str, fault: impl FnOnce()) -> Report {
        self.under_load_to("server", what, fault)
    }

    /// The same to another Service.
    pub(crate) fn under_load_to(&self, service: &str, what: &str, fault: impl FnOnce()) -> Report {
        self.load((service, true), what, fault)
    }

    /// The same without a connection that is kept.
    pub(crate) fn under_new_connections(&self, what: &str, fault: impl FnOnce()) -> Report {
        self.load(("server", false), what, fault)
    }

    fn load(&self, (service, kept): (&str, bool), what: &str, fault: impl FnOnce()) -> Report {
        let load = Load::start(self.netns("client"), self.target(service), kept);
        thread::sleep(Duration::from_secs(1));
        fault();
        thread::sleep(Duration::from_secs(2));
        let report = load.stop();
        self.say(format!("{what}: {report}"));
        report
    }

    pub(crate) fn target(&self, service: &str) -> Target {
        let object = self.cluster.get(&["service", service, "-n", "shop"]);
        let object = object.unwrap();
        let ip = object["spec"]["clusterIP"].as_str().unwrap();
        Target {
            address: SocketAddr::new(ip.parse().unwrap(), 80),
            host: service.to_owned(),
        }
    }

    /// The pods of the shop with this label `app`.
    pub(crate) fn pods(&self, app: &str) -> Vec<Value> {
        let selector = format!("app={app}");
        let pods = self.cluster.get(&["pods", "-n", "shop", "-l", &selector]);
        pods.unwrap()["items"].as_array().unwrap().clone()
    }

    fn netns(&self, app: &str) -> Netns {
        self.netns_of(&self.pods(app)[0])
    }

    pub(crate) fn netns_of(&self, pod: &Value) -> Netns {
        let node = pod["spec"]["nodeName"].as_str().unwrap();
        let node = self.cluster.nodes().iter().find(|n| n.name() == node);
        let ip: IpAddr = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
        node.unwrap().pod_netns(ip).unwrap()
    }

    /// Whether our packet rules are in the network of the pod, by what the kernel says.
    pub(crate) fn has_rules(&self, pod: &Value) -> bool {
        self.has_rules_in(&self.netns_of(pod))
    }

    pub(crate) fn has_rules_in(&self, netns: &Netns) -> bool {
        SAVES.iter().any(|save| {
            let output = netns.run(|| Command::new(save).output()).unwrap();
            let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
            text.contains("-j WEFT_OUT") && text.contains("-j WEFT_IN")
        })
    }

    /// A request by a user in a pod; its answer, or what went wrong.
    pub(crate) fn get_from(&self, pod: &[&str], url: &str) -> anyhow::Result<String> {
        let wget = ["timeout", "20", "wget", "-q", "-O", "-", url];
        self.cluster.exec(pod, &wget)?.text()
    }

    pub(crate) fn get(&self, url: &str) -> String {
        self.get_from(&["-n", "shop", "deploy/client"], url)
            .unwrap()
    }

    /// Requests that the proxies have carried, by all the words of the series.
    pub(crate) fn requests(&self, words: &[&str]) -> f64 {
        let all: Vec<&str> = ["istio_requests_total{"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        self.mesh.sum(Part::Proxy, &all).unwrap()
    }

    /// What the proxy of a node tells the plugin of a namespace.
    pub(crate) fn proxy_lists(&self, node: usize, namespace: &str) -> String {
        let node = self.cluster.node(node).unwrap();
        // The node's files as one of its processes sees them.
        let kubelet = node.daemon_pid("kubelet").unwrap().unwrap();
        let run = format!("/proc/{kubelet}/root/run/weft");
        let mut lists = String::new();
        for socket in std::fs::read_dir(run).unwrap().flatten() {
            if !socket.file_name().to_string_lossy().starts_with("proxy-") {
                continue;
            }
            // Killed ones have left theirs behind.
            let Ok(mut stream) = UnixStream::connect(socket.path()) else {
                continue;
            };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = write!(stream, "GET /membership?{namespace} HTTP/1.0\r\n\r\n");
            let _ = stream.read_to_string(&mut lists);
        }
        lists
    }

    pub(crate) fn eventually(&self, what: &str, mut is: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is() {
            assert!(
                Instant::now() < until,
                "not within {PATIENCE:?}: {what}\n{}",
                self.mesh.state()
            );
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Starts the kubelet of a node again. Until it has probed a pod once it may call it unready, so it is back for the
    /// streams when it has probed their endpoints.
    pub(crate) fn start_kubelet(&self, number: usize) {
        let node = self.cluster.node(number).unwrap();
        node.start("kubelet").unwrap();
        let name = format!("node/{}", node.name());
        self.wait("condition=Ready", &[&name]);
        let probes = format!(
            "get --raw /api/v1/nodes/{}/proxy/metrics/probes",
            node.name()
        );
        self.eventually("the kubelet has probed the endpoints", || {
            let probes = self.kubectl(&probes);
            let probed = |pod: &Value| {
                let name = pod["metadata"]["name"].as_str().unwrap();
                let words = [
                    &*format!("pod=\"{name}\""),
                    "probe_type=\"Readiness\"",
                    "result=\"successful\"",
                ];
                let is_success = |line: &str| words.iter().all(|word| line.contains(word));
                probes.lines().any(is_success) && is_ready(pod)
            };
            ["server", "mobile", "abrupt"]
                .iter()
                .flat_map(|app| self.pods(app))
                .filter(|pod| pod["spec"]["nodeName"] == node.name())
                .all(|pod| probed(&pod))
        });
    }

    /// Waits until the runtime was told to try again for this pod.
    pub(crate) fn waits(&self, namespace: &str, pod: &str) {
        let of = format!("--field-selector=involvedObject.name={pod}");
        self.eventually(&format!("{pod} is told to wait"), || {
            let get = ["get", "events", "-n", namespace, &of, "-o", "json"];
            let events = self.cluster.kubectl_ok(&get).unwrap();
            events.contains("FailedCreatePodSandBox") && events.contains("weft-cni")
        });
        let object = self.cluster.get(&["pod", pod, "-n", namespace]).unwrap();
        assert_eq!(object["status"]["phase"], "Pending", "{object}");
    }

    /// Keeps a DaemonSet's pods away from all nodes, or lets them come back.
    pub(crate) fn keep_away(&self, part: Part, name: &str, away: bool) {
        let value = if away { r#""test""# } else { "null" };
        let patch = format!(
            r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"weft.test/away":{value}}}}}}}}}}}"#
        );
        let object = format!("daemonset/{name}");
        let line = ["-n", "weft-system", "patch", &object, "-p", &patch];
        self.cluster.kubectl_ok(&line).unwrap();
        if away {
            self.eventually(&format!("{name} is away"), || {
                self.mesh.is_gone(part).unwrap()
            });
        } else {
            self.rolled_out(&object);
        }
    }

    /// What a failed case left undone shall not fail the next one too.
    pub(crate) fn repair(&self) {
        for node in self.cluster.nodes() {
            for daemon in ["containerd", "kubelet", "kube-proxy"] {
                if matches!(node.daemon_pid(daemon), Ok(None)) {
                    let _ = node.start(daemon);
                }
            }
        }
        let rest = "delete pod -A -l weft.test/passing --force --grace-period=0";
        for line in ["uncordon node-1 node-2", rest] {
            let words: Vec<&str> = line.split(' ').collect();
            let _ = self.cluster.kubectl(&words);
        }
    }

    pub(crate) fn rolled_out(&self, object: &str) {
        self.kubectl(&format!(
            "-n weft-system rollout status {object} --timeout=180s"
        ));
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Nothing of `report` is lost, except while Kubernetes itself had taken the only endpoint out of service: a kubelet that
/// comes back may call its pods unready until it has probed them once, with a mesh or without.
pub(crate) fn nothing_lost_but_unready(report: &Report) {
    let mut lost = report.fresh.lost.iter().chain(&report.kept.lost);
    assert!(
        lost.all(|(_, why)| why.contains("no_healthy_upstream")),
        "{report}"
    );
    let (lost, sent) = (report.fresh.lost.len(), report.fresh.sent);
    assert!(lost * 4 < sent, "longer than a probe takes: {report}");
}

/// Nothing of `report` is lost.
pub(crate) fn nothing_lost(report: &Report) {
    let lost = report.fresh.lost.len() + report.kept.lost.len();
    assert_eq!(lost, 0, "{report}");
}
