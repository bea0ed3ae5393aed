//! Weft as a user installs it: images, helm, a label, traffic that both proxies have seen, an upgrade under load, an orderly
//! removal after which the pods work on and nothing is left on the nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_cluster::{Cluster, Config, Progress, programs};

const MINUTE: Duration = Duration::from_secs(60);
const SYSTEM: [&str; 2] = ["-n", "weft-system"];
/// Requests while the proxies are exchanged.
const REQUESTS: usize = 300;

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: shop}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server, version: v1}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-2}
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: weft.local/sample:1
        imagePullPolicy: Never
        env:
        - {name: SERVICE, value: server}
        - {name: PORTS, value: "http:8080"}
        readinessProbe: {httpGet: {path: "/", port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: shop}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client, version: v1}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-1}
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: "weft.local/sample:1", imagePullPolicy: Never}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}]
"#;

#[test]
fn installed_labelled_upgraded_and_removed() {
    let config = Config::for_test("install").unwrap();
    let cluster = Cluster::up(&config).unwrap();
    import(&cluster, &config);
    cluster.apply(SHOP).unwrap();
    let mesh = Mesh::install(&cluster);
    let deployments = ["-n", "shop", "deployment/server", "deployment/client"];
    cluster
        .wait("condition=Available", &deployments, MINUTE)
        .unwrap();
    let pods = mesh.pods_of_the_shop();
    assert!(mesh.get().contains("server"));
    assert_eq!(mesh.captured(), 0.0, "nobody asked for it yet");

    cluster
        .kubectl_ok(&["label", "namespace", "shop", "weft.mesh/mode=enabled"])
        .unwrap();
    eventually("running pods are captured", || mesh.captured() == 2.0);
    assert!(mesh.get().contains("server"));
    eventually("both proxies have seen it", || {
        mesh.requests("source") >= 1.0 && mesh.requests("destination") >= 1.0
    });
    restarted_pod_is_captured(&mesh);
    upgrade_loses_nothing(&mesh);
    let pods = mesh
        .pods_of_the_shop()
        .into_iter()
        .filter(|p| pods.contains(p))
        .collect();
    removal_leaves_nothing(&mesh, pods);
}

/// A pod that starts in the labelled namespace is captured from its first packet on.
fn restarted_pod_is_captured(mesh: &Mesh<'_>) {
    let restart = ["-n", "shop", "rollout", "restart", "deployment/server"];
    mesh.cluster.kubectl_ok(&restart).unwrap();
    let status = [
        "-n",
        "shop",
        "rollout",
        "status",
        "deployment/server",
        "--timeout=60s",
    ];
    mesh.cluster.kubectl_ok(&status).unwrap();
    eventually("the old pod is forgotten, the new one captured", || {
        mesh.captured() == 2.0
    });
    let before = mesh.requests("destination");
    assert!(mesh.get().contains("server"));
    eventually("the new pod's proxy has seen it", || {
        mesh.requests("destination") > before
    });
}

/// Proxies are exchanged while requests run, one each 50 ms.
fn upgrade_loses_nothing(mesh: &Mesh<'_>) {
    let script = format!(
        "i=0; while [ $i -lt {REQUESTS} ]; do timeout 5 wget -q -O /dev/null http://server/ || echo lost; \
         i=$((i+1)); sleep 0.05; done; echo done"
    );
    let said = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let client = ["-n", "shop", "deploy/client"];
            mesh.cluster
                .exec(&client, &["sh", "-c", &script])
                .unwrap()
                .text()
                .unwrap()
        });
        // The old proxies leave at once, so that the second wave of requests has the new ones alone.
        mesh.upgrade(&[
            "--set",
            "proxy.accessLog=all",
            "--set",
            "proxy.drainSeconds=5",
        ]);
        load.join().unwrap()
    });
    assert_eq!(said.trim(), "done", "requests lost of {REQUESTS}");
}

/// `leave` lets the pods go in peace; after `helm uninstall` they are as they were before Weft.
fn removal_leaves_nothing(mesh: &Mesh<'_>, pods: Vec<(String, u64)>) {
    mesh.upgrade(&["--set", "leave=true"]);
    assert!(mesh.get().contains("server"), "new connections go directly");
    mesh.helm(&["uninstall", "weft", "-n", "weft-system", "--wait"]);
    eventually("the daemons have ended", || {
        mesh.cluster.get(&["pods", "-n", "weft-system"]).unwrap()["items"] == Value::Array(vec![])
    });
    assert!(mesh.get().contains("server"));
    let now = mesh.pods_of_the_shop();
    assert!(
        pods.iter().all(|pod| now.contains(pod)),
        "{pods:?} ran on, {now:?}"
    );
    for node in mesh.cluster.nodes() {
        let left = |command: &str| {
            let found = node.exec(&["sh", "-c", command]).unwrap();
            found.text().unwrap_or_default().trim().to_owned()
        };
        assert_eq!(
            left("ls -A /run/weft /var/lib/weft | grep -v :"),
            "",
            "{}",
            node.name()
        );
        assert_eq!(left("ls /etc/cni/net.d | grep weft"), "", "{}", node.name());
        let rules =
            "for n in /run/netns/*; do nsenter --net=$n iptables-nft-save | grep WEFT; done";
        assert_eq!(left(rules), "", "{}", node.name());
    }
}

/// Gives the nodes Weft's images, unless it is somebody's own cluster: then they are in its registry.
fn import(cluster: &Cluster, config: &Config) {
    if cluster.is_given() {
        return;
    }
    for part in ["agent", "proxy", "operator"] {
        let file = config.binaries.join(format!("images/weft-{part}.tar"));
        let archive = std::fs::read(&file)
            .unwrap_or_else(|e| panic!("{}: {e}; `cargo xtask images` makes it", file.display()));
        cluster.import(&archive).unwrap();
    }
}

struct Mesh<'a> {
    cluster: &'a Cluster,
    helm: PathBuf,
}

impl<'a> Mesh<'a> {
    fn install(cluster: &'a Cluster) -> Self {
        let helm = programs::HELM
            .ensure(&Progress::stderr())
            .unwrap()
            .join("helm");
        let mesh = Self { cluster, helm };
        mesh.upgrade(&["--install", "--create-namespace"]);
        mesh
    }

    fn chart() -> String {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/charts/weft").to_owned()
    }

    /// Returns when all of it is ready.
    fn upgrade(&self, more: &[&str]) {
        let chart = Self::chart();
        let mut all = vec!["upgrade", "weft", &chart, "-n", "weft-system"];
        all.extend(["--set", "image.registry=weft.local", "--reuse-values"]);
        all.extend(["--wait", "--timeout", "3m"]);
        all.extend(more);
        self.helm(&all);
    }

    fn helm(&self, arguments: &[&str]) {
        let mut command: Command = self.cluster.command(&self.helm);
        let output = command.args(arguments).output().unwrap();
        if output.status.success() {
            return;
        }
        let mut why = String::from_utf8_lossy(&output.stderr).into_owned();
        for what in [
            &["get", "pods", "-A", "-o", "wide"][..],
            &["-n", "weft-system", "describe", "pods"],
        ] {
            why += &self.cluster.kubectl_ok(what).unwrap_or_default();
        }
        for part in ["agent", "proxy", "operator"] {
            let selector = format!("app.kubernetes.io/name=weft-{part}");
            let logs = ["-n", "weft-system", "logs", "-l", &selector, "--tail", "20"];
            why += &self.cluster.kubectl_ok(&logs).unwrap_or_default();
        }
        panic!("helm {}: {why}", arguments.join(" "));
    }

    /// One request from the client's node to the server's.
    fn get(&self) -> String {
        let client = ["-n", "shop", "deploy/client"];
        let get = ["timeout", "5", "wget", "-q", "-O", "-", "http://server/"];
        self.cluster.exec(&client, &get).unwrap().text().unwrap()
    }

    /// Uid and restarts of each pod.
    fn pods_of_the_shop(&self) -> Vec<(String, u64)> {
        let pods = self.cluster.get(&["pods", "-n", "shop"]).unwrap();
        let pod = |pod: &Value| {
            let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
            (
                uid,
                pod["status"]["containerStatuses"][0]["restartCount"]
                    .as_u64()
                    .unwrap_or(0),
            )
        };
        pods["items"].as_array().unwrap().iter().map(pod).collect()
    }

    fn captured(&self) -> f64 {
        self.sum("agent", 15019, &["weft_agent_pods{", "state=\"captured\""])
    }

    fn requests(&self, reporter: &str) -> f64 {
        let reporter = format!("reporter=\"{reporter}\"");
        let server = "destination_service_name=\"server\"";
        self.sum(
            "proxy",
            15020,
            &["istio_requests_total{", &reporter, server],
        )
    }

    /// The sum of all series of a part's pods that hold these words.
    fn sum(&self, part: &str, port: u16, words: &[&str]) -> f64 {
        let selector = format!("app.kubernetes.io/name=weft-{part}");
        let mut get = vec!["pods", "-l", &selector];
        get.extend(SYSTEM);
        let pods = self.cluster.get(&get).unwrap();
        let mut sum = 0.0;
        for pod in pods["items"].as_array().unwrap() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let path = format!("/api/v1/namespaces/weft-system/pods/{name}:{port}/proxy/metrics");
            // A pod that is about to end does not answer.
            let text = self
                .cluster
                .kubectl_ok(&["get", "--raw", &path])
                .unwrap_or_default();
            let series = text
                .lines()
                .filter(|line| words.iter().all(|word| line.contains(word)));
            sum += series
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
        }
        sum
    }
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + MINUTE;
    while !is() {
        assert!(Instant::now() < until, "not within {MINUTE:?}: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
