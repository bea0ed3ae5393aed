//! Every kind of pod and of Service that Kubernetes has: captured if it should be, from its first packet on, and working.

use serde_json::Value;

use crate::world::{PATIENCE, World};

/// The objects.
const KINDS: &str = include_str!("kinds.yaml");
/// The node port of the Service `outside`.
const NODE_PORT: u16 = 30080;

/// All of them come up together.
pub(crate) fn all(world: &World<'_>) {
    world.cluster.apply(KINDS).unwrap();
    world.kubectl("-n shop create job tonight --from=cronjob/nightly");
    jobs(world);
    init_container(world);
    stateful_set(world);
    host_network(world);
    services(world);
    ephemeral_container(world);
    probes(world);
}

/// How often a workload's own proxy has seen it ask for the server.
fn asked(world: &World<'_>, workload: &str) -> f64 {
    let workload = format!("source_workload=\"{workload}\"");
    let server = "destination_service_name=\"server\"";
    world.requests(&["reporter=\"source\"", &workload, server])
}

/// They ask once, are seen, end, and nothing of them stays.
fn jobs(world: &World<'_>) {
    for (job, workload) in [("once", "once"), ("tonight", "tonight")] {
        let object = format!("job/{job}");
        world.wait("condition=Complete", &["-n", "shop", &object]);
        let answer = world.kubectl(&format!("-n shop logs job/{job}"));
        assert!(answer.contains(r#""service":"server""#), "{answer}");
        world.eventually(&format!("the request of {job} was seen"), || {
            asked(world, workload) == 1.0
        });
    }
    let captured = || world.mesh.captured().unwrap();
    let before = captured();
    world.kubectl("-n shop delete job once tonight --timeout=120s");
    world.eventually("their pods are gone", || {
        world.pods("once").is_empty() && world.pods("nightly").is_empty()
    });
    assert!(captured() <= before);
}

/// The first container's first packet is captured too.
fn init_container(world: &World<'_>) {
    world.wait("condition=Ready", &["-n", "shop", "pod/prepared"]);
    let answer = world.kubectl("-n shop logs prepared -c first");
    assert!(answer.contains(r#""service":"server""#), "{answer}");
    world.eventually("its request was seen", || asked(world, "prepared") == 1.0);
}

/// Each pod has a name of its own, and is reached by it through the mesh.
fn stateful_set(world: &World<'_>) {
    world.kubectl("-n shop rollout status statefulset/db --timeout=120s");
    let by_db = ["reporter=\"destination\"", "destination_workload=\"db\""];
    let before = world.requests(&by_db);
    for pod in ["db-0", "db-1"] {
        for name in [
            format!("{pod}.db"),
            format!("{pod}.db.shop.svc.cluster.local"),
        ] {
            let answer = world.get(&format!("http://{name}:8080/"));
            assert!(answer.contains(&format!(r#""pod":"{pod}""#)), "{answer}");
        }
    }
    assert!(world.get("http://db:8080/").contains(r#""service":"db""#));
    world.eventually("all were seen", || world.requests(&by_db) >= before + 5.0);
    for pod in world.pods("db") {
        assert!(world.has_rules(&pod), "{pod}");
    }
}

/// A pod of the host's network is never captured, and no rule is in the host's network; it talks to those that are.
fn host_network(world: &World<'_>) {
    world.wait("condition=Ready", &["-n", "shop", "pod/of-the-host"]);
    let before = asked(world, "of-the-host");
    let host = ["-n", "shop", "of-the-host"];
    let answer = world.get_from(&host, "http://server/").unwrap();
    assert!(answer.contains(r#""service":"server""#), "{answer}");
    assert_eq!(asked(world, "of-the-host"), before);
    for node in world.cluster.nodes() {
        for save in ["iptables-nft-save", "iptables-legacy-save"] {
            let rules = node.exec(&[save]).unwrap().stdout;
            assert!(!rules.contains("WEFT"), "{}: {rules}", node.name());
        }
    }
}

/// Services that are no ClusterIP with a selector.
fn services(world: &World<'_>) {
    let server = world.pods("server");
    let ip = server[0]["status"]["podIP"].as_str().unwrap();
    let slice = format!(
        r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: manual-1, namespace: shop, labels: {{kubernetes.io/service-name: manual}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: ["{ip}"], conditions: {{ready: true}}}}]
"#
    );
    world.cluster.apply(&slice).unwrap();
    world.eventually("endpoints written by hand are used", || {
        let client = ["-n", "shop", "deploy/client"];
        let answer = world.get_from(&client, "http://manual/");
        answer.is_ok_and(|answer| answer.contains(r#""service":"server""#))
    });
    assert!(world.get("http://alias/").contains(r#""service":"server""#));
    for node in world.cluster.nodes() {
        let url = format!("http://{}:{NODE_PORT}/", node.ip());
        let mut wget = world.cluster.command("busybox".as_ref());
        let output = wget.args(["timeout", "20", "busybox", "wget", "-q", "-O", "-", &url]);
        let output = output.output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(
            answer.contains(r#""service":"server""#),
            "{url}: {output:?}"
        );
    }
}

/// It joins the pod's network, so it is captured as the pod is.
fn ephemeral_container(world: &World<'_>) {
    let client = world.pods("client")[0]["metadata"]["name"].clone();
    let client = client.as_str().unwrap();
    let before = asked(world, "client");
    world.kubectl(&format!(
        "-n shop debug {client} --image=weft.local/sample-shell:1 --image-pull-policy=Never -c look --profile=general \
         -- timeout 20 wget -q -O- http://server/"
    ));
    world.eventually("the ephemeral container has its answer", || {
        let logs = ["-n", "shop", "logs", client, "-c", "look"];
        let logs = world.cluster.kubectl(&logs).unwrap();
        logs.stdout.contains(r#""service":"server""#)
    });
    world.eventually("it was seen", || asked(world, "client") > before);
}

/// Ready by all of them, and none has failed once since.
fn probes(world: &World<'_>) {
    let ready = ["-n", "shop", "pod/probed"];
    let ready = world.cluster.wait("condition=Ready", &ready, PATIENCE);
    ready.unwrap();
    let pod: Value = world.cluster.get(&["pod", "probed", "-n", "shop"]).unwrap();
    assert!(world.has_rules(&pod));
    for container in pod["status"]["containerStatuses"].as_array().unwrap() {
        assert_eq!(container["restartCount"], 0, "{container}");
    }
}
