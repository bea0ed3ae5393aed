//! Faults that take minutes, since Kubernetes takes its time to notice.

use std::thread;
use std::time::Duration;

use weft_cluster::Part;

use crate::faults::pods_wait;
use crate::world::{World, nothing_lost, nothing_lost_but_unready};

/// Longer than any moment.
const AWAY: Duration = Duration::from_secs(20);

/// Twenty seconds, and a pod that has been waiting for most of them.
pub(crate) fn agent_away(world: &World<'_>) {
    let report = world.under_load("agent away for 20 s", || {
        pods_wait(
            world,
            || {
                world.keep_away(Part::Agent, "weft-agent", true);
                thread::sleep(AWAY);
            },
            || world.keep_away(Part::Agent, "weft-agent", false),
        );
    });
    nothing_lost(&report);
}

/// Until the node is NotReady: its pods are no endpoints any more then, but they answer.
pub(crate) fn kubelet_away(world: &World<'_>) {
    let node = world.cluster.node(2).unwrap();
    let report = world.under_load_to("mobile", "kubelet away until NotReady", || {
        node.kill("kubelet").unwrap();
        world.wait("condition=Ready=Unknown", &["node/node-2"]);
        thread::sleep(Duration::from_secs(5));
        world.start_kubelet(2);
    });
    nothing_lost_but_unready(&report);
}

/// Twenty seconds without a runtime.
pub(crate) fn containerd_away(world: &World<'_>) {
    let node = world.cluster.node(2).unwrap();
    let report = world.under_load("containerd away for 20 s", || {
        node.kill("containerd").unwrap();
        thread::sleep(AWAY);
        node.start("containerd").unwrap();
        world.wait("condition=Ready", &["node/node-2"]);
    });
    nothing_lost(&report);
}

fn boot(world: &World<'_>) {
    world.cluster.power_on(2).unwrap();
    let node = world.cluster.node(2).unwrap();
    node.start("kubelet").unwrap();
    node.start("kube-proxy").unwrap();
}

/// Pods on node-2 that should be in the mesh and run: all have rules.
fn all_captured(world: &World<'_>) {
    let pods = world.cluster.get(&["pods", "-n", "shop"]).unwrap();
    for pod in pods["items"].as_array().unwrap() {
        let here = pod["spec"]["nodeName"] == "node-2" && pod["spec"]["hostNetwork"].is_null();
        if here && pod["status"]["phase"] == "Running" {
            assert!(world.has_rules(pod), "{pod}");
        }
    }
}

/// The plug is pulled and the node boots: everything that ran on it runs again, captured.
pub(crate) fn rebooted(world: &World<'_>) {
    let report = world.under_load_to("mobile", "reboot", || {
        world.cluster.power_off(2).unwrap();
        boot(world);
        world.eventually("the server answers again", || {
            let client = ["-n", "shop", "deploy/client"];
            world.get_from(&client, "http://server/").is_ok()
        });
        world.wait(
            "condition=Available",
            &["-n", "shop", "deployment", "--all"],
        );
    });
    world.rolled_out("daemonset/weft-agent");
    world.rolled_out("daemonset/weft-proxy");
    all_captured(world);
    let lost = report.fresh.lost.len();
    assert!(lost * 2 < report.fresh.sent, "{report}");
}

/// After a boot without an agent pods outside the mesh start; those of the mesh wait, and none answers uncaptured.
pub(crate) fn rebooted_without_agent(world: &World<'_>) {
    world.keep_away(Part::Agent, "weft-agent", true);
    world.cluster.power_off(2).unwrap();
    boot(world);
    let bystanders = ["-n", "plain", "deployment/bystander"];
    world.eventually("the node knows that its pods are gone", || {
        let pods = world.cluster.get(&["pods", "-n", "plain"]).unwrap();
        let restarted = |pod: &serde_json::Value| {
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            pod["spec"]["nodeName"] != "node-2" || restarts.as_u64() > Some(1)
        };
        pods["items"].as_array().unwrap().iter().all(restarted)
    });
    world.wait("condition=Available", &bystanders);
    let server = world.pods("server")[0]["metadata"]["name"].clone();
    let server = server.as_str().unwrap();
    world.eventually("the server's pod is told to wait", || {
        let of =
            format!("--field-selector=involvedObject.name={server},reason=FailedCreatePodSandBox");
        let get = ["get", "events", "-n", "shop", &of, "-o", "name"];
        !world.cluster.kubectl_ok(&get).unwrap().is_empty()
    });
    let pod = world.cluster.get(&["pod", server, "-n", "shop"]).unwrap();
    let state = &pod["status"]["containerStatuses"][0]["state"];
    assert!(state["running"].is_null(), "{state}");
    world.keep_away(Part::Agent, "weft-agent", false);
    world.wait(
        "condition=Available",
        &["-n", "shop", "deployment", "--all"],
    );
    all_captured(world);
}
