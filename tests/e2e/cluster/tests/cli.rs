//! Weft by its own command line, as a user who has no helm does it: checked before, installed, checked after, watched, waited
//! for, and removed, after which the pods run on and nothing is left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

#[path = "cli/definitions.rs"]
mod definitions;

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use weft_cluster::{Cluster, Config, Progress};

const MINUTE: Duration = Duration::from_secs(60);

/// A pod on each node, and one that cannot be captured.
const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.mesh/mode: enabled}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: server, namespace: shop}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: weft.local/sample-shell:1
        imagePullPolicy: Never
        env: [{name: SERVICE, value: server}, {name: PORTS, value: "http:8080"}]
        readinessProbe: {httpGet: {path: "/", port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: shop}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: "weft.local/sample-shell:1", imagePullPolicy: Never, env: [{name: PORTS, value: "http:18080"}]}]
"#;

fn route(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: server, namespace: shop}}\n\
         spec:\n  hosts: [server]\n  http:\n  - timeout: 3s\n    route: [{{destination: {{host: {host}}}}}]\n"
    )
}

#[test]
fn checked_installed_watched_and_removed() {
    let config = Config::for_test("cli").unwrap();
    let cluster = Cluster::up(&config).unwrap();
    if !cluster.is_given() {
        for part in ["agent", "proxy", "operator"] {
            let file = config.binaries.join(format!("images/weft-{part}.tar"));
            let archive = std::fs::read(&file).unwrap_or_else(|e| {
                panic!("{}: {e}; `cargo xtask images` makes it", file.display())
            });
            cluster.import(&archive).unwrap();
        }
    }
    let weft = Weft {
        cluster: &cluster,
        program: config.binaries.join("weft"),
    };

    definitions::come_and_stay_and_are_left_alone(&weft);

    let before = weft.ok(&["check", "--pre"]);
    assert!(before.contains("√ may create everything"), "{before}");
    let (code, text) = weft.run(&["check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("→ weft install"), "{text}");

    let install = [
        "install",
        "--image-registry",
        "weft.local",
        "--timeout",
        "3m",
    ];
    let first = weft.ok(&install);
    assert!(
        first.contains("daemonset.apps/weft-agent created"),
        "{first}"
    );
    assert!(first.contains("kubectl label namespace"), "{first}");
    let routes =
        "customresourcedefinition.apiextensions.k8s.io/httproutes.gateway.networking.k8s.io";
    assert!(first.contains(&format!("{routes} created")), "{first}");
    let second = weft.ok(&install);
    assert!(
        !second.contains("created") && !second.contains("configured"),
        "{second}"
    );

    cluster.apply(SHOP).unwrap();
    let rollout = [
        "-n",
        "shop",
        "rollout",
        "status",
        "daemonset/server",
        "--timeout=60s",
    ];
    cluster.kubectl_ok(&rollout).unwrap();
    healthy(&weft);
    waits(&weft);
    let pods = pods(&cluster);
    removed(&weft, &pods);
}

fn healthy(weft: &Weft<'_>) {
    let report = weft.ok(&["check", "--wait", "60s", "-o", "json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["success"], true, "{report:#}");
    let words = report.to_string();
    assert!(words.contains("shop/host: hostNetwork"), "{report:#}");
    assert!(
        words.contains("the Gateway API is defined (v1.6.3, standard channel)"),
        "{report:#}"
    );
    let table = weft.ok(&["proxy-status"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["NODE", "PROXY", "AGENT"],
            ["node-1", "SYNCED", "SYNCED"],
            ["node-2", "SYNCED", "SYNCED"]
        ],
        "{table}"
    );
    let events = [
        "-n",
        "shop",
        "get",
        "events",
        "--field-selector",
        "reason=CannotCapture",
    ];
    let events = weft.cluster.kubectl_ok(&events).unwrap();
    assert!(events.contains("pod/host"), "{events}");
}

fn waits(weft: &Weft<'_>) {
    let wait = ["wait", "vs/server", "-n", "shop"];
    weft.cluster.apply(&route("server")).unwrap();
    let said = weft.ok(&wait);
    assert!(said.contains("on 2/2 nodes"), "{said}");
    weft.cluster.apply(&route("nobody")).unwrap();
    let (code, text) = weft.run(&wait);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("not accepted") && text.contains("nobody"),
        "{text}"
    );
}

fn removed(weft: &Weft<'_>, before: &[(String, u64)]) {
    let (code, text) = weft.run(&["uninstall"]);
    assert_eq!(code, Some(1), "without a terminal it does not ask: {text}");
    weft.ok(&["uninstall", "--yes", "--timeout", "2m"]);
    let namespace = weft.cluster.kubectl(&["get", "namespace", "weft-system"]);
    assert!(!namespace.unwrap().success());
    let roles = weft
        .cluster
        .kubectl_ok(&["get", "clusterroles,clusterrolebindings"]);
    assert!(!roles.unwrap().contains("weft"));
    let routes = weft
        .cluster
        .get(&["virtualservices", "-n", "shop"])
        .unwrap();
    assert_eq!(
        routes["items"].as_array().unwrap().len(),
        1,
        "policies stay"
    );
    assert_eq!(pods(weft.cluster), before, "pods run on");
    let nodes = weft
        .cluster
        .nodes_to_look_into("what is left on the nodes", &Progress::stderr());
    for node in nodes {
        let left = "ls -A /run/weft /var/lib/weft | grep -v :; ls /etc/cni/net.d | grep weft; \
                    for n in /run/netns/*; do nsenter --net=$n iptables-nft-save | grep WEFT; done";
        let found = node.exec(&["sh", "-c", left]).unwrap();
        assert_eq!(
            found.text().unwrap_or_default().trim(),
            "",
            "{}",
            node.name()
        );
    }
    weft.ok(&["uninstall", "--yes", "--crds"]);
    assert!(weft.cluster.get(&["virtualservices", "-A"]).is_err());
    assert!(weft.cluster.get(&["httproutes", "-A"]).is_err());
}

/// Uid and restarts of each pod that is not on its node's network.
fn pods(cluster: &Cluster) -> Vec<(String, u64)> {
    let pods = ["pods", "-n", "shop", "-l", "app=server"];
    let pods = cluster.get(&pods).unwrap();
    let pod = |pod: &Value| {
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        (uid, restarts.as_u64().unwrap_or(0))
    };
    pods["items"].as_array().unwrap().iter().map(pod).collect()
}

struct Weft<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
}

impl Weft<'_> {
    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = self.cluster.command(&self.program);
        command.stdin(std::process::Stdio::null());
        command.args(arguments).output().unwrap()
    }

    /// Its exit code, and what it said on both streams.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.output(arguments);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// What it answers; it must succeed within the time of a gate.
    fn ok(&self, arguments: &[&str]) -> String {
        let begun = std::time::Instant::now();
        let output = self.output(arguments);
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || begun.elapsed() > 5 * MINUTE {
            let pods = self
                .cluster
                .kubectl_ok(&["get", "pods", "-A", "-o", "wide"]);
            panic!(
                "weft {}: {answer}{}\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr),
                pods.unwrap_or_default()
            );
        }
        answer
    }
}
