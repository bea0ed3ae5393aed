//! Pods on two nodes, a Service between them, DNS, exec, probes, faults of a node's daemons. One cluster for all of it:
//! it is the test's own evidence that parts do not disturb each other, and it comes up once.

use std::time::Duration;

use weft_cluster::{Cluster, Config};

use crate::residue::Traces;

const MINUTE: Duration = Duration::from_secs(60);

/// A server on node-2 that is not ready for its first seconds, a client on node-1, and a headless Service.
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
    metadata: {labels: {app: server}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-2}
      containers:
      - name: app
        image: weft.local/sample-shell:1
        imagePullPolicy: Never
        env:
        - {name: SERVICE, value: server}
        - {name: PORTS, value: "http:8080"}
        readinessProbe: {httpGet: {path: "/fail-first/2?key=probe", port: 8080}, periodSeconds: 1}
        livenessProbe: {exec: {command: [sh, -c, "exit 0"]}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: shop}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-1}
      containers:
      - {name: app, image: "weft.local/sample-shell:1", imagePullPolicy: Never}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec:
  clusterIP: None
  selector: {app: server}
  ports: [{name: http, port: 8080}]
"#;

fn get(cluster: &Cluster, url: &str) -> String {
    let client = ["-n", "shop", "deploy/client"];
    let answer = cluster.exec(&client, &["timeout", "5", "wget", "-q", "-O", "-", url]);
    answer
        .unwrap()
        .text()
        .unwrap_or_else(|e| panic!("{url}: {e:#}"))
}

fn server_pod(cluster: &Cluster) -> serde_json::Value {
    let pods = cluster
        .get(&["pods", "-n", "shop", "-l", "app=server"])
        .unwrap();
    pods["items"][0].clone()
}

#[test]
fn pods_services_dns_exec_probes_and_nothing_left() {
    let config = Config::for_test("basics").unwrap();
    let cluster = Cluster::up(&config).unwrap();
    cluster.apply(SHOP).unwrap();
    let deployments = ["-n", "shop", "deployment/server", "deployment/client"];
    cluster
        .wait("condition=Available", &deployments, MINUTE)
        .unwrap();
    reaches_the_other_node(&cluster);
    probes_were_made(&cluster);
    if cluster.is_given() {
        return;
    }
    survives_its_daemons(&cluster);
    let traces = Traces::of(&config.directory());
    assert!(traces.processes() > 15, "etcd, API server, nodes, pods");
    cluster.down().unwrap();
    traces.assert_gone();
}

/// Through kube-proxy's rules on node-1 to a pod on node-2, by every name that Kubernetes gives.
fn reaches_the_other_node(cluster: &Cluster) {
    let pod = server_pod(cluster);
    let ip = pod["status"]["podIP"].as_str().unwrap();
    let service = cluster.get(&["service", "server", "-n", "shop"]).unwrap();
    let vip = service["spec"]["clusterIP"].as_str().unwrap();
    let urls = [
        format!("http://{ip}:8080/"),
        format!("http://{vip}/"),
        "http://server/".into(),
        "http://server.shop/".into(),
        "http://server.shop.svc.cluster.local/".into(),
        "http://headless:8080/".into(),
    ];
    for url in urls {
        let answer = get(cluster, &url);
        assert!(answer.contains(r#""service":"server""#), "{url}: {answer}");
    }
    let unknown = ["timeout", "5", "wget", "-q", "-O", "-", "http://nobody/"];
    let unknown = cluster.exec(&["-n", "shop", "deploy/client"], &unknown);
    assert!(!unknown.unwrap().success(), "a name that nobody has");
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    let authority = cluster.exec(&["-n", "shop", "deploy/client"], &["cat", token]);
    let authority = authority.unwrap().text().unwrap();
    assert!(authority.contains("BEGIN CERTIFICATE"), "{authority}");
}

/// The server answered 503 twice before kubelet called it ready.
fn probes_were_made(cluster: &Cluster) {
    let name = server_pod(cluster)["metadata"]["name"].to_string();
    let events = cluster
        .kubectl_ok(&["get", "events", "-n", "shop", "-o", "json"])
        .unwrap();
    assert!(
        events.contains("Readiness probe failed: HTTP probe failed with statuscode: 503"),
        "{name}: {events}"
    );
}

/// containerd and kubelet come and go; the pod's connections do not notice.
fn survives_its_daemons(cluster: &Cluster) {
    let node = cluster.node(2).unwrap();
    let before = server_pod(cluster);
    for daemon in ["kubelet", "containerd"] {
        node.kill(daemon).unwrap();
        assert_eq!(node.daemon_pid(daemon).unwrap(), None);
        assert!(get(cluster, "http://server/").contains("server"));
    }
    for daemon in ["containerd", "kubelet"] {
        node.start(daemon).unwrap();
    }
    cluster
        .wait("condition=Ready", &["node/node-2"], MINUTE)
        .unwrap();
    let after = server_pod(cluster);
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(
        after["status"]["containerStatuses"][0]["restartCount"], 0,
        "{after}"
    );
}
