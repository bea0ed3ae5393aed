//! Weft comes, is upgraded, and goes; pods and namespaces join and leave.

use weft_cluster::Part;

use crate::world::{World, nothing_lost};

/// Pods of the shop that run from the start: client, server, two each of abrupt and mobile.
const AT_THE_START: usize = 6;

/// The label comes while requests run: everything that runs is taken in, nothing restarts, nothing is lost.
pub(crate) fn labelled(world: &World<'_>) {
    let before = world.mesh.lives("shop").unwrap();
    assert_eq!(before.len(), AT_THE_START);
    assert_eq!(world.mesh.captured().unwrap(), 0.0, "nobody asked for it");
    let report = world.under_load("label added", || {
        world.kubectl("label namespace shop weft.mesh/mode=enabled");
        world.eventually("running pods are captured", || {
            world.mesh.captured().unwrap() == AT_THE_START as f64
        });
    });
    nothing_lost(&report);
    assert_eq!(before, world.mesh.lives("shop").unwrap(), "none restarted");
    let seen = world.requests(&["reporter=\"destination\"", "destination_app=\"server\""]);
    // Not at once: a node that captures the client first knows a way to the server that is older than its capture.
    world.eventually("both proxies see requests", || {
        assert!(world.get("http://server/").contains("server"));
        let server = "destination_service_name=\"server\"";
        let words = ["reporter=\"destination\"", "destination_app=\"server\""];
        world.requests(&words) > seen && world.requests(&["reporter=\"source\"", server]) > 0.0
    });
}

/// All proxies are exchanged; the old ones leave before the stream ends.
pub(crate) fn upgraded(world: &World<'_>) {
    let report = world.under_load("proxy upgraded", || {
        world.kubectl("-n weft-system rollout restart daemonset/weft-proxy");
        world.rolled_out("daemonset/weft-proxy");
        world.eventually("the old proxies have gone", || {
            let proxies = "-n weft-system get pods -o name -l ";
            let proxies = world.kubectl(&format!("{proxies}{}", Part::Proxy.selector()));
            proxies.lines().count() == world.cluster.nodes().len()
        });
    });
    nothing_lost(&report);
}

/// A Deployment's pods are exchanged. Those that wait before they end lose nothing; those that end at once lose what
/// their nodes have not heard of yet, with a mesh or without.
pub(crate) fn server_rolled(world: &World<'_>) {
    let roll = |name: &str| {
        world.kubectl(&format!("-n shop rollout restart deployment/{name}"));
        world.kubectl(&format!(
            "-n shop rollout status deployment/{name} --timeout=120s"
        ));
        let pods = || world.pods(name);
        let replicas = pods()
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .count();
        world.eventually("the old pods have ended", || pods().len() == replicas);
        for pod in pods() {
            assert!(world.has_rules(&pod), "{pod}");
        }
    };
    nothing_lost(&world.under_load("rolled, with preStop", || roll("server")));
    let abrupt = world.under_load_to("abrupt", "rolled, without preStop", || roll("abrupt"));
    let lost = abrupt.fresh.lost.len();
    assert!(lost * 5 < abrupt.fresh.sent, "most of it works: {abrupt}");
}

/// The label goes and comes back while everything runs.
pub(crate) fn relabelled(world: &World<'_>) {
    let lives = world.mesh.lives("shop").unwrap();
    let captured = world.mesh.captured().unwrap();
    let report = world.under_load("label removed and added", || {
        world.kubectl("label namespace shop weft.mesh/mode-");
        world.eventually("all pods are released", || {
            world.mesh.captured().unwrap() == 0.0 && !world.has_rules(&world.pods("client")[0])
        });
        assert!(world.get("http://server/").contains("server"));
        world.kubectl("label namespace shop weft.mesh/mode=enabled");
        world.eventually("all pods are captured again", || {
            world.mesh.captured().unwrap() == captured
        });
        assert!(world.has_rules(&world.pods("client")[0]));
    });
    nothing_lost(&report);
    assert_eq!(lives, world.mesh.lives("shop").unwrap(), "none restarted");
}

/// Pods of a namespace without the label: no rule, no restart, whatever happened around them.
pub(crate) fn bystanders(world: &World<'_>) {
    let pods = world.cluster.get(&["pods", "-n", "plain"]).unwrap();
    for pod in pods["items"].as_array().unwrap() {
        assert!(!world.has_rules(pod), "{pod}");
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(restarts, 0, "{pod}");
    }
}

/// The orderly removal: pods leave in peace and run on, and the nodes are as they were before.
pub(crate) fn removed(world: &World<'_>) {
    let lives = world.mesh.lives("shop").unwrap();
    // A connection that is never at rest would hold its pods for the hour that releasing may take.
    let report = world.under_new_connections("removed", || {
        world.mesh.upgrade(&["leave=true"]).unwrap();
        world.mesh.uninstall().unwrap();
        for part in [Part::Agent, Part::Proxy, Part::Operator] {
            world.eventually("Weft's pods have ended", || {
                world.mesh.is_gone(part).unwrap()
            });
        }
    });
    nothing_lost(&report);
    assert_eq!(lives, world.mesh.lives("shop").unwrap(), "they ran on");
    for node in world.cluster.nodes() {
        let left = |command: &str| {
            let found = node.exec(&["sh", "-c", command]).unwrap();
            found.text().unwrap_or_default().trim().to_owned()
        };
        let name = node.name();
        assert_eq!(
            left("ls -A /run/weft /var/lib/weft | grep -v :"),
            "",
            "{name}"
        );
        assert_eq!(left("ls /etc/cni/net.d | grep weft"), "", "{name}");
        let rules =
            "for n in /run/netns/*; do nsenter --net=$n iptables-nft-save | grep WEFT; done";
        assert_eq!(left(rules), "", "{name}");
    }
    // Pods start and end without Weft, though its plugin's name is in what the runtime remembers of old ones.
    world.kubectl("-n shop delete pod -l app=mobile --timeout=120s");
    world.wait("condition=Available", &["-n", "shop", "deployment/mobile"]);
}
