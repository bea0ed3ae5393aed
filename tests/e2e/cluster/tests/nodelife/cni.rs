//! The specification's own runtime, `cnitool`, drives our plugin behind plugins that speak CNI 1.1.0 (containerd of the
//! test cluster stops at 1.0.0): add, check, del, gc and status on a node with the real agent and proxy. The pod is one
//! that the API server has bound to the node while its kubelet is away, so that nobody else starts it.

use std::path::Path;

use serde_json::{Value, json};
use weft_cluster::{Finished, Node, Progress, programs};

use crate::world::World;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: tooled, namespace: shop, labels: {app: tooled, weft.test/passing: ""}}
spec:
  nodeName: node-2
  containers:
  - {name: app, image: "weft.local/sample-shell:1", imagePullPolicy: Never}
"#;
/// Where the pod's network is, as the node sees it.
const NETNS: &str = "/run/netns/tool";

/// As runtimes make it: the loopback interface is up before any plugin is called.
const SANDBOX: &str = "ip netns add tool && ip -n tool link set lo up";

/// One network configuration and the tool that uses it.
struct Tool<'a> {
    node: &'a Node,
    programs: &'a Path,
    pod: Value,
}

impl Tool<'_> {
    /// A bridge of version `version` and, behind it, our entry as the agent has written it for containerd.
    fn configure(&self, version: &str) {
        let installed = self.node.exec(&["cat", "/etc/cni/net.d/00-weft.conflist"]);
        let installed = installed.unwrap().text().unwrap();
        let installed: Value = serde_json::from_str(&installed).unwrap();
        let ours = installed["plugins"].as_array().unwrap().last().unwrap();
        let range = json!({"subnet": "10.244.2.0/24", "rangeStart": "10.244.2.240", "rangeEnd": "10.244.2.250"});
        let conflist = json!({"cniVersion": version, "name": "tool", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "ranges": [[range]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
            ours,
        ]});
        let write = "mkdir -p /tmp/tool; printf %s \"$1\" > /tmp/tool/10-tool.conflist";
        self.sh(write, &conflist.to_string()).text().unwrap();
    }

    fn sh(&self, line: &str, argument: &str) -> Finished {
        self.node.exec(&["sh", "-c", line, "sh", argument]).unwrap()
    }

    fn run(&self, verb: &str) -> Finished {
        let meta = &self.pod["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap().to_owned();
        let arguments = format!(
            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
            text("namespace"),
            text("name"),
            text("uid")
        );
        let path = format!("CNI_PATH={}:/opt/cni/bin", self.programs.display());
        let tool = self.programs.join("cnitool").display().to_string();
        let configuration = "NETCONFPATH=/tmp/tool";
        let line = [
            "env",
            &path,
            configuration,
            &arguments,
            &tool,
            verb,
            "tool",
            NETNS,
        ];
        self.node.exec(&line).unwrap()
    }

    fn must(&self, verb: &str) -> String {
        let finished = self.run(verb);
        assert!(finished.success(), "cnitool {verb}: {finished:?}");
        finished.stdout
    }
}

/// All verbs in three versions.
pub(crate) fn tool(world: &World<'_>) {
    let programs = programs::CNI.ensure(&Progress::stderr()).unwrap();
    let node = world.cluster.node(2).unwrap();
    node.kill("kubelet").unwrap();
    world.cluster.apply(POD).unwrap();
    let pod = world.cluster.get(&["pod", "tooled", "-n", "shop"]).unwrap();
    let tool = Tool {
        node,
        programs: &programs,
        pod,
    };
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        tool.configure(version);
        tool.sh(SANDBOX, "").text().unwrap();
        added(world, &tool, version);
        tool.must("check");
        broken_rules_are_found(world, &tool);
        tool.must("del");
        tool.must("del");
        node.exec(&["ip", "netns", "del", "tool"])
            .unwrap()
            .text()
            .unwrap();
    }
    tool.must("status");
    what_nobody_deleted_is_collected(world, &tool);
    world.kubectl("-n shop delete pod tooled --force --grace-period=0");
    world.start_kubelet(2);
}

fn added(world: &World<'_>, tool: &Tool<'_>, version: &str) {
    let mut result = Value::Null;
    // The operator may not have told the node of the pod yet: error 11, and after it a runtime has to call DEL.
    world.eventually("the pod is added", || {
        let finished = tool.run("add");
        if !finished.success() {
            assert!(finished.stderr.contains("operator"), "{finished:?}");
            tool.must("del");
            return false;
        }
        result = serde_json::from_str(&finished.stdout).unwrap();
        true
    });
    assert_eq!(result["cniVersion"], version, "{result}");
    let ip = result["ips"][0]["address"].as_str().unwrap();
    let (ip, _) = ip.split_once('/').unwrap();
    let netns = tool.node.pod_netns(ip.parse().unwrap()).unwrap();
    assert!(world.has_rules_in(&netns), "{result}");
}

/// The agent's own patrol may repair them between the two commands.
fn broken_rules_are_found(world: &World<'_>, tool: &Tool<'_>) {
    world.eventually("CHECK finds that the rules are gone", || {
        let flush =
            "for t in iptables-nft iptables-legacy; do nsenter --net=$1 $t -t nat -F OUTPUT; done";
        tool.sh(flush, NETNS).text().unwrap();
        let checked = tool.run("check");
        !checked.success() && checked.stderr.contains("shop/tooled")
    });
}

/// The namespace goes without DEL, as when a runtime crashes.
fn what_nobody_deleted_is_collected(world: &World<'_>, tool: &Tool<'_>) {
    tool.sh(SANDBOX, "").text().unwrap();
    added(world, tool, "1.1.0");
    tool.sh("ip netns del tool", "").text().unwrap();
    tool.must("gc");
    let leases = tool.sh("ls /var/lib/cni/networks/tool | grep -c '^10' || true", "");
    assert_eq!(leases.stdout.trim(), "0", "addresses are free again");
    world.eventually("the agents have forgotten it", || {
        let pages = world.mesh.pages(weft_cluster::Part::Agent, "debug/pods");
        pages.unwrap().iter().all(|page| !page.contains("tooled"))
    });
}
