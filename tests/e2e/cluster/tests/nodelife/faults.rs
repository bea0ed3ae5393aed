//! Parts of the mesh and of the node go away and come back.

use std::thread;
use std::time::Duration;

use weft_cluster::Part;

use crate::world::{World, nothing_lost, nothing_lost_but_unready};

/// How long kubelet and containerd are away.
const MOMENT: Duration = Duration::from_secs(3);

/// A pod that asks for the server the moment it starts, and then rests.
fn eager(namespace: &str, name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}, weft.test/passing: ""}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: node-1}}
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: weft.local/sample-shell:1
    imagePullPolicy: Never
    command: [sh, -c, "timeout 20 wget -q -O- http://server.shop/; sleep 100000"]
"#
    )
}

/// While `away` is true of a part, a pod of the mesh waits and one outside starts; `back` ends that. The pod's first
/// packet then goes through the mesh.
pub(crate) fn pods_wait(world: &World<'_>, away: impl FnOnce(), back: impl FnOnce()) {
    let source = |name: &str| format!("source_workload=\"{name}\"");
    away();
    world.cluster.apply(&eager("shop", "late")).unwrap();
    world.cluster.apply(&eager("plain", "free")).unwrap();
    world.wait("condition=Ready", &["-n", "plain", "pod/free"]);
    world.waits("shop", "late");
    back();
    world.wait("condition=Ready", &["-n", "shop", "pod/late"]);
    assert!(world.has_rules(&world.pods("late")[0]));
    world.eventually("the proxies have seen its first request", || {
        let words = ["reporter=\"source\"", &source("late")];
        world.requests(&words) == 1.0 && world.kubectl("-n shop logs late").contains("server")
    });
    world.kubectl("-n shop delete pod late --timeout=120s");
    world.kubectl("-n plain delete pod free --timeout=120s");
}

/// Pods of the mesh work on and new ones wait; others do not notice. A namespace that joins meanwhile counts at once.
pub(crate) fn agent_away(world: &World<'_>) {
    world.kubectl("create namespace joining");
    let list = "/var/lib/weft/cni/namespaces";
    let listed = ["grep", "-x", "namespace joining out", list];
    world.eventually("the agent has noted the namespace", || {
        let node = world.cluster.node(1).unwrap();
        node.exec(&listed).unwrap().success()
    });
    let report = world.under_load("agent away", || {
        pods_wait(
            world,
            || {
                world.keep_away(Part::Agent, "weft-agent", true);
                joins(world);
            },
            || world.keep_away(Part::Agent, "weft-agent", false),
        );
    });
    nothing_lost(&report);
    world.wait("condition=Ready", &["-n", "joining", "pod/joiner"]);
    let pods = ["pods", "-n", "joining", "-l", "app=joiner"];
    let pods = world.cluster.get(&pods).unwrap();
    assert!(world.has_rules(&pods["items"][0]), "{pods}");
    world.eventually("the proxies have seen its first request", || {
        let words = ["reporter=\"source\"", "source_workload=\"joiner\""];
        world.requests(&words) == 1.0
    });
    world.kubectl("delete namespace joining --timeout=120s");
}

/// The agents' lists still say that the namespace is outside; the proxies know better.
fn joins(world: &World<'_>) {
    world.cluster.apply(&eager("joining", "before")).unwrap();
    world.wait("condition=Ready", &["-n", "joining", "pod/before"]);
    world.kubectl("label namespace joining weft.mesh/mode=enabled");
    world.eventually("the proxy has heard of the label", || {
        world
            .proxy_lists(1, "joining")
            .contains("namespace joining in\n")
    });
    world.cluster.apply(&eager("joining", "joiner")).unwrap();
    world.waits("joining", "joiner");
}

/// All agents are exchanged, then all are killed at once.
pub(crate) fn agent_upgraded(world: &World<'_>) {
    let captured = world.mesh.captured().unwrap();
    let report = world.under_load("agent upgraded, then killed", || {
        world.kubectl("-n weft-system rollout restart daemonset/weft-agent");
        world.rolled_out("daemonset/weft-agent");
        kill(world, "weft-agent", 2);
        kill(world, "weft-agent", 1);
        world.rolled_out("daemonset/weft-agent");
        world.eventually("the agents know all pods again", || {
            world.mesh.captured().unwrap() == captured
        });
    });
    nothing_lost(&report);
}

/// Kills a program on a node as a crash would, and waits until the kubelet has started another.
fn kill(world: &World<'_>, program: &str, node: usize) {
    let node = world.cluster.node(node).unwrap();
    let pids = || {
        let line = format!(
            "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /usr/local/bin/{program} ] && echo ${{p#/proc/}}; done; true"
        );
        let found = node.exec(&["sh", "-c", &line]).unwrap().text().unwrap();
        found
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = pids();
    assert!(!before.is_empty(), "{program} runs on {}", node.name());
    for pid in &before {
        node.exec(&["kill", "-9", pid]).unwrap();
    }
    world.eventually(&format!("another {program} runs"), || {
        let now = pids();
        !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
    });
}

/// Connections that a killed proxy carried are gone; those made while it is away wait for the next one.
pub(crate) fn proxy_killed(world: &World<'_>) {
    for (node, whose) in [(1, "client"), (2, "server")] {
        let report = world.under_load(&format!("the {whose}'s proxy killed"), || {
            kill(world, "weft-proxy", node);
            world.rolled_out("daemonset/weft-proxy");
        });
        // What was under way at that moment; the stream has one request in flight now and then.
        let (fresh, kept) = (report.fresh.lost.len(), report.kept.lost.len());
        assert!(fresh * 20 < report.fresh.sent && kept <= 2, "{report}");
    }
}

/// Nothing changes; pods that nobody knows yet wait.
pub(crate) fn operator_away(world: &World<'_>) {
    let scale = |replicas: u8| {
        let line = "-n weft-system scale deployment/weft-operator --replicas";
        world.kubectl(&format!("{line}={replicas}"));
    };
    let report = world.under_load("operator away", || {
        pods_wait(
            world,
            || {
                scale(0);
                world.eventually("the operators are away", || {
                    world.mesh.is_gone(Part::Operator).unwrap()
                });
            },
            || {
                scale(2);
                world.rolled_out("deployment/weft-operator");
            },
        );
    });
    nothing_lost(&report);
}

/// A moment is too short for the cluster to give the node up.
pub(crate) fn kubelet_killed(world: &World<'_>) {
    let node = world.cluster.node(2).unwrap();
    let report = world.under_load("kubelet killed and back", || {
        node.kill("kubelet").unwrap();
        thread::sleep(MOMENT);
        world.start_kubelet(2);
    });
    nothing_lost_but_unready(&report);
}

/// Containers, agent and proxy among them, run on without their runtime.
pub(crate) fn containerd_killed(world: &World<'_>) {
    let lives = world.mesh.lives("shop").unwrap();
    let nodes: Vec<_> = world.cluster.nodes().iter().collect();
    let report = world.under_load("containerd killed and back on both nodes", || {
        for node in &nodes {
            node.kill("containerd").unwrap();
        }
        thread::sleep(MOMENT);
        for node in &nodes {
            node.start("containerd").unwrap();
        }
        world.wait("condition=Ready", &["node/node-1", "node/node-2"]);
    });
    nothing_lost(&report);
    assert_eq!(lives, world.mesh.lives("shop").unwrap(), "none restarted");
}

/// All that may go goes to the other node, and may come back.
pub(crate) fn drained(world: &World<'_>) {
    let report = world.under_load_to("mobile", "node drained", || {
        world.kubectl(
            "drain node-2 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s",
        );
        world.wait("condition=Available", &["-n", "shop", "deployment/mobile"]);
        let pods = world.pods("mobile");
        let away = |pod: &serde_json::Value| pod["spec"]["nodeName"] == "node-1";
        assert!(pods.iter().all(away), "{pods:?}");
        world.kubectl("uncordon node-2");
    });
    nothing_lost(&report);
    world.wait(
        "condition=Available",
        &["-n", "shop", "deployment", "--all"],
    );
    world.rolled_out("deployment/weft-operator");
    for app in ["mobile", "server"] {
        for pod in world.pods(app) {
            assert!(world.has_rules(&pod), "{pod}");
        }
    }
}
