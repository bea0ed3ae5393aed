//! Traffic that leaves or enters the node: the client's address stays, and each node reports its own half.

use std::time::Duration;

use crate::backend::{Backend, echo};
use crate::client::{Client, Ending};
use crate::world::{APP, FAR, HTTP, ONE, SIX, TCP, World, eventually, ok};

#[test]
fn http_from_another_node_enters_with_its_address_and_is_reported_by_the_destination() {
    let world = World::new();
    let backend = world.web();
    let mut client = Client::connect(&world.far, world.v1.at(APP)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "v1");
    }
    let mut other = Client::connect(&world.far, world.v1.at(APP)).unwrap();
    assert_eq!(other.get("/").text(), "v1");
    assert_eq!(backend.last().peer.ip(), world.far.ip);
    assert_eq!(backend.connections(), 1);
    eventually("four requests are counted", || {
        let labels = [
            "reporter=\"destination\"",
            "source_workload=\"far\"",
            "destination_workload=\"web-v1\"",
            "response_code=\"200\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 4.0
    });
    assert_eq!(
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["reporter=\"source\""]),
        0.0
    );
}

#[test]
fn tcp_from_another_node_enters_with_its_address() {
    let world = World::new();
    let _backend = Backend::raw(&world.v1, TCP, |mut conn| {
        conn.send(format!("{}\n", conn.peer.ip()))?;
        echo(conn)
    });
    let mut client = Client::connect(&world.far, world.v1.at(TCP)).unwrap();
    assert_eq!(client.until(b"\n").unwrap(), b"10.244.2.5\n");
    client.send("hello");
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    client.half_close();
    assert_eq!(client.rest().unwrap(), b"");
    eventually("bytes are counted both ways", || {
        let metrics = world.proxy.metrics();
        let labels = ["reporter=\"destination\"", "request_protocol=\"tcp\""];
        metrics.sum("istio_tcp_received_bytes_total", &labels) == 5.0
            && metrics.sum("istio_tcp_sent_bytes_total", &labels) == 16.0
            && metrics.sum("istio_tcp_connections_closed_total", &labels) == 1.0
    });
    let mut client = Client::connect(&world.far, world.v1.at(1234)).unwrap();
    assert_eq!(client.ending(), Ending::Reset);
}

#[test]
fn http_to_another_node_leaves_with_the_pods_address_and_is_reported_by_the_source() {
    let world = World::new();
    let backend = Backend::http(&world.far, APP, |_| ok("far"));
    assert_eq!(world.dial_to(FAR, HTTP).get("/").text(), "far");
    assert_eq!(backend.last().peer.ip(), world.client.ip);
    // By its own address it is the same workload.
    assert_eq!(world.dial_to(world.far.ip, APP).get("/").text(), "far");
    assert_eq!(backend.connections(), 1);
    eventually("two requests are counted", || {
        let labels = [
            "reporter=\"source\"",
            "source_workload=\"client\"",
            "destination_workload=\"far\"",
            "destination_service=\"far.shop.svc.cluster.local\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 2.0
    });
    assert_eq!(
        world
            .proxy
            .metrics()
            .sum("istio_requests_total", &["reporter=\"destination\""]),
        0.0
    );
}

#[test]
fn a_connection_to_another_node_is_not_used_for_ever() {
    // It may have been opened before that node captured the endpoint, and would lead past its proxy as long as it lived.
    let world = World::new();
    let far = Backend::http(&world.far, APP, |_| ok("far"));
    let near = world.web();
    let (mut out, mut here) = (world.dial_to(FAR, HTTP), world.dial());
    eventually("another connection carries the client's requests", || {
        assert_eq!(out.get("/").text(), "far");
        assert_eq!(here.get("/").text(), "v1");
        far.connections() == 2
    });
    assert_eq!(near.connections(), 1, "nothing can be passed on one node");
}

#[test]
fn tcp_to_another_node_is_carried() {
    let world = World::new();
    let backend = Backend::raw(&world.far, TCP, echo);
    let mut client = world.dial_to(FAR, TCP);
    client.send("hello");
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn what_is_outside_the_mesh_passes_untouched() {
    let world = World::new();
    crate::world::ip(&world.far.ns, "address add 192.0.2.7/32 dev eth0\n");
    crate::world::ip(&world.node, "route add 192.0.2.7/32 via 10.244.2.5\n");
    let outside = crate::world::Pod {
        name: "outside",
        ns: world.far.ns.try_clone().unwrap(),
        ip: [192, 0, 2, 7].into(),
        ip6: world.far.ip6,
    };
    let backend = Backend::http(&outside, APP, |seen| ok(seen.line()));
    let mut client = world.dial_to(outside.ip, APP);
    client.send("GET /x HTTP/1.1\r\nHost: outside\r\nConnection: keep-alive\r\nX_Odd: 1\r\n\r\n");
    assert_eq!(client.response().text(), "GET /x");
    assert_eq!(
        backend.last().head,
        "GET /x HTTP/1.1\r\nHost: outside\r\nConnection: keep-alive\r\nX_Odd: 1\r\n\r\n"
    );
    eventually("it is counted as passing through", || {
        let labels = [
            "destination_service_name=\"PassthroughCluster\"",
            "reporter=\"source\"",
        ];
        world
            .proxy
            .metrics()
            .sum("istio_tcp_connections_opened_total", &labels)
            == 1.0
    });
}

#[test]
fn a_pods_own_address_is_one_pass_without_routes() {
    let world = World::routed(crate::routing::ADMIN_IS_ANSWERED_HERE);
    let backend = world.web();
    let mut client = world.dial_to(world.v1.ip, APP);
    assert_eq!(client.get("/admin").text(), "v1");
    assert_eq!(backend.last().peer.ip(), world.client.ip);
    // The routes belong to the service's address.
    assert_eq!(world.dial_to(ONE, HTTP).get("/admin").status, 403);
    eventually("one pass is reported by both sides", || {
        let metrics = world.proxy.metrics();
        ["source", "destination"].iter().all(|reporter| {
            let reporter = format!("reporter=\"{reporter}\"");
            metrics.sum(
                "istio_requests_total",
                &[&reporter, "response_code=\"200\""],
            ) == 1.0
        })
    });
}

/// A NetworkPolicy wants to see the packets: the pair goes through the veths, and each side is a pass of its own.
#[test]
fn a_network_policy_takes_a_pair_off_the_one_pass() {
    const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {version: v1, app: web}}, policyTypes: [Ingress], ingress: [{}]}
";
    let world = World::routed(POLICY);
    let backend = world.web();
    let packets = || {
        let path = "/sys/class/net/vv1/statistics/tx_packets";
        // The veth's end in the node's namespace, read by a process that sees it.
        let out = world
            .node
            .run(|| {
                std::process::Command::new("ip")
                    .args(["-s", "-o", "link", "show", "dev", "vv1"])
                    .output()
            })
            .unwrap()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let sent = text.rsplit("TX:").next().unwrap();
        let fields: Vec<&str> = sent.split_whitespace().collect();
        fields
            .iter()
            .filter_map(|field| field.parse::<u64>().ok())
            .nth(1)
            .unwrap_or_else(|| panic!("{path}: {text}"))
    };
    let before = packets();
    let mut client = world.dial();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "v1");
    }
    assert!(packets() >= before + 20, "nothing went through the veth");
    assert_eq!(backend.last().peer.ip(), world.client.ip);
    eventually("each side has its own record", || {
        let metrics = world.proxy.metrics();
        ["source", "destination"].iter().all(|reporter| {
            let labels = [
                &format!("reporter=\"{reporter}\"") as &str,
                "source_workload=\"client\"",
                "destination_workload=\"web-v1\"",
            ];
            metrics.sum("istio_requests_total", &labels) == 20.0
        })
    });
}

#[test]
fn a_client_that_is_no_pod_is_unknown_and_served() {
    let world = World::new();
    let _web = world.web();
    crate::world::ip(&world.far.ns, "address add 192.0.2.7/32 dev eth0\n");
    crate::world::ip(&world.node, "route add 192.0.2.7/32 via 10.244.2.5\n");
    crate::world::ip(
        &world.far.ns,
        "route replace default via 10.244.2.1 src 192.0.2.7\n",
    );
    let mut client = Client::connect(&world.far, world.v1.at(APP)).unwrap();
    assert_eq!(client.get("/").text(), "v1");
    eventually("it is counted as unknown", || {
        let labels = ["source_workload=\"unknown\"", "reporter=\"destination\""];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 1.0
    });
}

#[test]
fn ipv6_is_carried_like_ipv4() {
    let world = World::new();
    let web = Backend::at((world.v1.ip6, APP).into(), &world.v1, |mut conn| {
        while conn.request()?.is_some() {
            conn.send(ok("six"))?;
        }
        Ok(())
    });
    let _tcp = Backend::at((world.v1.ip6, TCP).into(), &world.v1, |mut conn| {
        conn.send(format!("{}\n", conn.peer.ip()))?;
        echo(conn)
    });
    assert_eq!(world.dial_to(SIX, HTTP).get("/").text(), "six");
    assert_eq!(web.last().peer.ip(), world.client.ip6);
    // From another node, to the pod's address.
    let mut far = Client::connect(&world.far, (world.v1.ip6, APP).into()).unwrap();
    assert_eq!(far.get("/").text(), "six");
    assert_eq!(web.last().peer.ip(), world.far.ip6);
    let mut client = world.dial_to(SIX, TCP);
    let seen = client.until(b"\n").unwrap();
    assert_eq!(seen, format!("{}\n", world.client.ip6).as_bytes());
    client.half_close();
    assert_eq!(client.rest().unwrap(), b"");
    // To another node, and to a port where nobody listens.
    let out = Backend::at((world.far.ip6, TCP).into(), &world.far, echo);
    let mut client = world.dial_to(world.far.ip6, TCP);
    client.send("x");
    assert_eq!(client.exactly(1).unwrap(), b"x");
    assert_eq!(out.connections(), 1);
    assert_eq!(world.dial_to(world.v1.ip6, 1234).ending(), Ending::Reset);
    eventually("one pass is seen by both sides", || {
        let labels = [
            "destination_service=\"six.shop.svc.cluster.local\"",
            "source_workload=\"client\"",
        ];
        world.proxy.metrics().sum("istio_requests_total", &labels) == 2.0
    });
}

#[test]
fn an_endpoint_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far, namespace: shop}
spec:
  host: far
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 200ms}}}
";
    /// How long one attempt lasts without the rule.
    const BY_DEFAULT: Duration = weft_model::policy::DEFAULT_CONNECT_TIMEOUT;
    let world = World::routed(RULE);
    let dropping = world
        .far
        .ns
        .run(|| {
            std::process::Command::new("iptables-nft")
                .args([
                    "-A",
                    "INPUT",
                    "-p",
                    "tcp",
                    "--dport",
                    "8080:9000",
                    "-j",
                    "DROP",
                ])
                .status()
        })
        .unwrap()
        .unwrap();
    assert!(dropping.success());
    let (answer, took) = crate::client::timed(|| world.dial_to(FAR, HTTP).get("/"));
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.header("x-weft-reason"),
        Some("upstream_connect_failure")
    );
    // Three attempts and two short pauses.
    assert!(took.as_millis() > 550 && took < BY_DEFAULT, "{took:?}");
    let (ending, took) = crate::client::timed(|| world.dial_to(FAR, TCP).ending());
    assert_eq!(ending, Ending::Reset);
    assert!(took.as_millis() > 150 && took < BY_DEFAULT, "{took:?}");
}
