//! Pods on two nodes, as a user's manifests ask for them.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weft_lab::load::{self, Source};
use weft_lab::verb::{exec, http, tcp};
use weft_lab::{Lab, View};

use crate::room::{DEADLINE, lab};

const TWO: &str = "
kind: Namespace
metadata: {name: shop}
---
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      nodeName: node-1
      containers: [{name: c, image: x, ports: [{name: http, containerPort: 8080}, {name: udp-echo, containerPort: 5353, protocol: UDP}]}]
---
kind: Deployment
metadata: {name: store, namespace: shop}
spec:
  template:
    metadata: {labels: {app: store}}
    spec:
      nodeName: node-2
      containers: [{name: c, image: x, ports: [{name: tcp-store, containerPort: 6379}, {name: hello, containerPort: 3306}]}]
---
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
kind: Service
metadata: {name: store, namespace: shop}
spec: {clusterIP: None, selector: {app: store}, ports: [{name: tcp, port: 6379}]}
";

fn state(lab: &Lab, file: &str) -> Option<Value> {
    let text = std::fs::read(lab.config().state().join(file)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

async fn version(view: &View, url: &str) -> String {
    let store = view.pod("shop", "store").unwrap();
    let response = http::get_from(view, store, url, &[("end-user", "jason")])
        .await
        .unwrap();
    assert_eq!(response.status, 200);
    response.json().unwrap()["version"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn pods_talk_across_nodes_in_both_families() {
    lab(
        "pods::pods_talk_across_nodes_in_both_families",
        TWO,
        |lab| async move {
            let view = lab.settled(DEADLINE).await.unwrap();
            let (web, store) = (
                view.pod("shop", "web").unwrap(),
                view.pod("shop", "store").unwrap(),
            );
            assert_eq!(
                (web.node.as_str(), store.node.as_str()),
                ("node-1", "node-2")
            );
            assert_eq!(web.ips.len(), 2);
            for ip in &web.ips {
                let url = format!("http://{}/hi?x=1", SocketAddr::new(*ip, 8080));
                let seen = http::get_from(&view, store, &url, &[])
                    .await
                    .unwrap()
                    .json()
                    .unwrap();
                assert_eq!(seen["path"], "/hi?x=1");
                assert!(
                    store.ips.iter().any(|ip| seen["client"] == ip.to_string()),
                    "{seen}"
                );
            }
            let address = SocketAddr::new(store.ip().unwrap(), 6379);
            let ns = web.netns.as_ref().unwrap();
            let talk = tcp::talk(ns, address, b"PING\nSET a b\nGET a\nany line\n")
                .await
                .unwrap();
            assert_eq!(talk, b"PONG\nOK\nb\nany line\n");
            let hello = tcp::talk(ns, SocketAddr::new(address.ip(), 3306), b"")
                .await
                .unwrap();
            assert!(hello.starts_with(b"HELLO store"));
            assert_eq!(lab.down().await.unwrap(), Vec::<String>::new());
        },
    );
}

#[test]
fn the_state_directory_is_what_a_cluster_would_have() {
    lab(
        "pods::the_state_directory_is_what_a_cluster_would_have",
        TWO,
        |lab| async move {
            let view = lab.settled(DEADLINE).await.unwrap();
            let web = view.pod("shop", "web").unwrap();
            let pod = state(&lab, &format!("pod.shop.{}.yaml", web.name)).unwrap();
            assert_eq!(pod["status"]["podIP"], web.ip().unwrap().to_string());
            assert_eq!(pod["spec"]["nodeName"], "node-1");
            let service = state(&lab, "service.shop.web.yaml").unwrap();
            let ip = service["spec"]["clusterIP"].as_str().unwrap();
            assert!(ip.starts_with("10.96."));
            assert_eq!(view.resolve("shop", "web").unwrap().to_string(), ip);
            let slice = state(&lab, "endpointslice.shop.web-lab0.yaml").unwrap();
            assert_eq!(slice["ports"][0]["port"], 8080);
            assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
            assert_eq!(
                state(&lab, "node.node-2.yaml").unwrap()["spec"]["podCIDR"],
                "10.244.2.0/24"
            );
            // A headless Service's name leads to its pods, also inside a container.
            let output = exec::exec(web, &["getent", "hosts", "store.shop.svc.cluster.local"])
                .await
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                text.contains(&view.pod("shop", "store").unwrap().ip().unwrap().to_string()),
                "{text}"
            );
        },
    );
}

#[test]
fn saving_a_file_scales_replaces_and_removes() {
    lab(
        "pods::saving_a_file_scales_replaces_and_removes",
        TWO,
        |lab| async move {
            lab.settled(DEADLINE).await.unwrap();
            let scaled = TWO.replacen("spec:\n  template", "spec:\n  replicas: 3\n  template", 1);
            lab.apply("all.yaml", &scaled).await.unwrap();
            let view = lab.settled(DEADLINE).await.unwrap();
            assert_eq!(view.pods_of("shop", "web").len(), 3);
            let url = format!(
                "http://{}:8080/",
                view.pod("shop", "web").unwrap().ip().unwrap()
            );
            assert_eq!(version(&view, &url).await, "v1");
            // Written by an editor, not through the lab: the directory is watched.
            let path = lab.config().manifests.join("all.yaml");
            std::fs::write(&path, TWO.replace("version: v1", "version: v2")).unwrap();
            let view = lab
                .wait(DEADLINE, |v| {
                    v.settled
                        && v.pod("shop", "web")
                            .is_some_and(|p| p.labels["version"] == "v2")
                })
                .await
                .unwrap();
            assert_eq!(view.pods_of("shop", "web").len(), 1);
            let url = format!(
                "http://{}:8080/",
                view.pod("shop", "web").unwrap().ip().unwrap()
            );
            assert_eq!(version(&view, &url).await, "v2");
            // A broken file changes nothing.
            lab.apply("all.yaml", "kind: [").await.unwrap();
            assert_eq!(lab.settled(DEADLINE).await.unwrap().pods.len(), 2);
            lab.delete("all.yaml").await.unwrap();
            assert!(lab.settled(DEADLINE).await.unwrap().pods.is_empty());
            assert!(state(&lab, "service.shop.web.yaml").is_none());
            let leases = lab.nodes()[0].paths.leases.join("lab");
            let left = std::fs::read_dir(leases).unwrap().flatten();
            let left: Vec<_> = left
                .map(|e| e.file_name())
                .filter(|n| n.to_string_lossy().starts_with("10."))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        },
    );
}

#[test]
fn a_container_that_ends_is_started_again_and_is_not_ready_meanwhile() {
    lab(
        "pods::a_container_that_ends_is_started_again_and_is_not_ready_meanwhile",
        TWO,
        |lab| async move {
            let view = lab.settled(DEADLINE).await.unwrap();
            let pid = view.pod("shop", "web").unwrap().pids[0];
            let kill = tokio::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status();
            assert!(kill.await.unwrap().success());
            lab.wait(DEADLINE, |v| !v.settled).await.unwrap();
            let view = lab.settled(DEADLINE).await.unwrap();
            assert_ne!(view.pod("shop", "web").unwrap().pids[0], pid);
        },
    );
}

#[test]
fn load_keeps_its_rate_and_counts_from_the_due_time() {
    lab(
        "pods::load_keeps_its_rate_and_counts_from_the_due_time",
        TWO,
        |lab| async move {
            let view = lab.settled(DEADLINE).await.unwrap();
            let (web, store) = (
                view.pod("shop", "web").unwrap(),
                view.pod("shop", "store").unwrap(),
            );
            let url = format!("http://{}:8080/delay/20", web.ip().unwrap());
            let source = Source {
                netns: Arc::clone(store.netns.as_ref().unwrap()),
                targets: vec![http::Target::resolve(&view, "shop", &url).unwrap()],
                headers: Vec::new(),
                connections: 1,
            };
            // One connection can answer 50 a second; asked for 100, the later half of a second waits up to half a second.
            let stop = CancellationToken::new();
            let running = tokio::spawn(load::open(source.clone(), 100.0, stop.clone()));
            let begun = std::time::Instant::now();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            stop.cancel();
            let outcome = running.await.unwrap().unwrap();
            let most = 50.0 * begun.elapsed().as_secs_f64() + 5.0;
            assert!(
                outcome.failed() == 0
                    && outcome.responses() >= 20
                    && outcome.responses() as f64 <= most,
                "{outcome:?}"
            );
            assert!(outcome.latency.max() > 200_000, "{}", outcome.latency.max());
            let closed = load::closed(source, Some(10), CancellationToken::new())
                .await
                .unwrap();
            assert_eq!(closed.good(), 10);
            assert!(closed.latency.max() < 200_000, "{}", closed.latency.max());
        },
    );
}

#[test]
fn what_cannot_run_is_named() {
    let text = TWO.replace("node-2", "node-7");
    lab("pods::what_cannot_run_is_named", &text, |lab| async move {
        lab.wait(DEADLINE, |v| v.pod("shop", "web").is_some_and(|p| p.ready))
            .await
            .unwrap();
        assert!(!lab.view().settled);
        assert!(lab.view().pod("shop", "store").is_none());
    });
}

#[test]
fn check_finds_a_pod_that_lost_its_address() {
    lab(
        "pods::check_finds_a_pod_that_lost_its_address",
        TWO,
        |lab| async move {
            let view = lab.settled(DEADLINE).await.unwrap();
            let web = view.pod("shop", "web").unwrap();
            lab.check(web).await.unwrap();
            let flushed = exec::exec(web, &["ip", "address", "flush", "dev", "eth0"])
                .await
                .unwrap();
            assert!(flushed.status.success());
            assert!(lab.check(web).await.is_err());
        },
    );
}
