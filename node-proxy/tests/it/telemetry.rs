//! What operators see: Istio's series with all their labels, from both reporters, and Istio's access log.

use std::collections::BTreeMap;

use crate::backend::{Backend, echo};
use crate::proxy::Spawn;
use crate::world::{EMPTY, HTTP, ONE, TCP, World, eventually};

/// The 23 labels of every series (ecosystem.md part 4).
const LABELS: [&str; 23] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_app",
    "source_version",
    "source_principal",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_app",
    "destination_version",
    "destination_principal",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

fn parse(labels: &str) -> BTreeMap<&str, &str> {
    labels
        .split("\",")
        .map(|pair| pair.split_once("=\"").unwrap())
        .map(|(name, value)| (name, value.trim_end_matches('"')))
        .collect()
}

/// Every label of the edge from client to v1 by the service `one`.
fn golden(reporter: &str) -> BTreeMap<&str, &str> {
    BTreeMap::from([
        ("reporter", reporter),
        ("source_workload", "client"),
        ("source_workload_namespace", "shop"),
        ("source_canonical_service", "client"),
        ("source_canonical_revision", "v1"),
        ("source_app", "client"),
        ("source_version", "v1"),
        ("source_principal", "unknown"),
        ("source_cluster", "Kubernetes"),
        ("destination_workload", "web-v1"),
        ("destination_workload_namespace", "shop"),
        ("destination_service", "one.shop.svc.cluster.local"),
        ("destination_service_name", "one"),
        ("destination_service_namespace", "shop"),
        ("destination_canonical_service", "web"),
        ("destination_canonical_revision", "v1"),
        ("destination_app", "web"),
        ("destination_version", "v1"),
        ("destination_principal", "unknown"),
        ("destination_cluster", "Kubernetes"),
        ("request_protocol", "http"),
        ("response_flags", "-"),
        ("connection_security_policy", "none"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
    ])
}

#[test]
fn one_pass_is_reported_from_both_sides_with_every_label() {
    let world = World::new();
    let _web = world.web();
    let _tcp = Backend::raw(&world.v1, TCP, echo);
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("hello");
    stream.exactly(5).unwrap();
    drop(stream);
    assert_eq!(world.dial_to(EMPTY, HTTP).get("/").status, 503);
    let metric = "istio_tcp_connections_closed_total";
    eventually("all is counted", || {
        let metrics = world.proxy.metrics();
        metrics.sum(metric, &[]) == 2.0 && metrics.sum("istio_requests_total", &[]) == 3.0
    });
    let metrics = world.proxy.metrics();
    for reporter in ["source", "destination"] {
        let found = metrics
            .series("istio_requests_total")
            .map(|(labels, _)| parse(labels))
            .find(|labels| labels["reporter"] == reporter && labels["response_code"] == "200")
            .unwrap();
        let mut wanted = golden(reporter);
        // Plain HTTP has no gRPC status; whatever stands for "none" is the exposition's choice.
        wanted.insert("grpc_response_status", found["grpc_response_status"]);
        assert_eq!(found, wanted);
    }
    let mut seen = 0;
    for metric in [
        "istio_requests_total",
        "istio_request_duration_milliseconds_count",
        "istio_request_bytes_count",
        "istio_response_bytes_count",
        "istio_tcp_sent_bytes_total",
        "istio_tcp_received_bytes_total",
        "istio_tcp_connections_opened_total",
        "istio_tcp_connections_closed_total",
    ] {
        for (labels, _) in metrics.series(metric) {
            let labels = parse(labels);
            for name in LABELS {
                let value = labels
                    .get(name)
                    .unwrap_or_else(|| panic!("{metric} lacks {name}"));
                assert!(!value.is_empty(), "{metric} has an empty {name}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} series");
    // A request that reached nobody still names the service.
    let nobody = [
        "destination_service=\"empty.shop.svc.cluster.local\"",
        "destination_workload=\"unknown\"",
        "reporter=\"source\"",
        "response_flags=\"UH\"",
    ];
    assert_eq!(metrics.sum("istio_requests_total", &nobody), 1.0);
}

#[test]
fn sizes_and_durations_are_measured() {
    let world = World::new();
    let _web = world.answering(|_| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        crate::world::ok("four")
    });
    let mut client = world.dial();
    client.send("POST / HTTP/1.1\r\nhost: one\r\ncontent-length: 10\r\n\r\n0123456789");
    assert_eq!(client.response().text(), "four");
    let source = ["reporter=\"source\""];
    eventually("it is counted", || {
        world.proxy.metrics().sum("istio_requests_total", &source) == 1.0
    });
    let metrics = world.proxy.metrics();
    assert_eq!(metrics.sum("istio_request_bytes_sum", &source), 10.0);
    assert_eq!(metrics.sum("istio_response_bytes_sum", &source), 4.0);
    let took = metrics.sum("istio_request_duration_milliseconds_sum", &source);
    assert!((30.0..1000.0).contains(&took), "{took}");
    let bucket = |le: &str| {
        let le = format!("le=\"{le}\"");
        metrics.sum(
            "istio_request_duration_milliseconds_bucket",
            &[&le, "reporter=\"source\""],
        )
    };
    assert_eq!((bucket("25"), bucket("+Inf")), (0.0, 1.0));
}

#[test]
fn a_long_connection_reports_its_bytes_while_it_lives() {
    let world = World::new();
    let _tcp = Backend::raw(&world.v1, TCP, echo);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("hello");
    stream.exactly(5).unwrap();
    eventually("bytes are counted", || {
        let metrics = world.proxy.metrics();
        let labels = ["reporter=\"destination\""];
        metrics.sum("istio_tcp_received_bytes_total", &labels) == 5.0
            && metrics.sum("istio_tcp_sent_bytes_total", &labels) == 5.0
            && metrics.sum("istio_tcp_connections_opened_total", &labels) == 1.0
            && metrics.sum("istio_tcp_connections_closed_total", &labels) == 0.0
    });
}

#[test]
fn the_access_log_has_a_json_line_for_each_request_and_connection() {
    let world = World::new();
    let _web = world.web();
    let _tcp = Backend::raw(&world.v1, TCP, echo);
    let mut client = world.dial();
    client.send(
        "GET /a?b HTTP/1.1\r\nhost: one\r\nx-request-id: my-id\r\nuser-agent: \"quoted\"\r\nx-forwarded-for: 9.9.9.9\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("hello");
    stream.exactly(5).unwrap();
    drop(stream);
    eventually("both lines are there", || {
        world.proxy.access_log().lines().count() == 2
    });
    let log = world.proxy.access_log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let http = lines.iter().find(|line| line["method"] == "GET").unwrap();
    for (field, value) in [
        ("path", "/a?b"),
        ("protocol", "HTTP/1.1"),
        ("response_flags", "-"),
        ("response_code_details", "via_upstream"),
        ("request_id", "my-id"),
        ("authority", "one"),
        ("user_agent", "\"quoted\""),
        ("x_forwarded_for", "9.9.9.9"),
        ("upstream_host", "10.244.1.11:8080"),
        ("downstream_local_address", "10.96.0.11:80"),
    ] {
        assert_eq!(http[field], value, "{field} in {http}");
    }
    assert_eq!(
        (&http["response_code"], &http["bytes_sent"]),
        (&200.into(), &2.into())
    );
    let remote = http["downstream_remote_address"].as_str().unwrap();
    assert!(remote.starts_with("10.244.1.10:"), "{remote}");
    let tcp = lines.iter().find(|line| line["method"].is_null()).unwrap();
    assert_eq!(
        (&tcp["bytes_received"], &tcp["bytes_sent"]),
        (&5.into(), &5.into())
    );
    assert_eq!(tcp["upstream_host"], "10.244.1.11:9000");
}

#[test]
fn the_access_log_has_istios_text_line() {
    let world = World::with(
        "",
        Spawn {
            format: "text",
            ..Spawn::default()
        },
    );
    let _web = world.web();
    assert_eq!(world.dial().get("/path").status, 200);
    eventually("the line is there", || {
        world.proxy.access_log().ends_with('\n')
    });
    let line = world.proxy.access_log();
    assert!(
        line.contains("] \"GET /path HTTP/1.1\" 200 - via_upstream - \"-\" 0 2 "),
        "{line}"
    );
    assert!(line.contains(" \"one\" \"10.244.1.11:8080\" "), "{line}");
}

#[test]
fn self_metrics_tell_generation_and_pods() {
    let world = World::new();
    let metrics = world.proxy.metrics();
    assert_eq!(metrics.sum("weft_proxy_pods", &[]), 3.0);
    assert!(metrics.sum("weft_tables_generation", &[]) >= 1.0);
    assert_eq!(metrics.sum("istio_build", &["component=\"proxy\""]), 1.0);
    assert_eq!(world.proxy.get("/healthz/ready"), "ready\n");
}

/// V35: what clients send is data in the log, never a second line or a second field.
#[test]
fn a_client_cannot_write_the_access_log() {
    for format in ["text", "json"] {
        let spawn = Spawn {
            format,
            ..Spawn::default()
        };
        let world = World::with("", spawn);
        let _web = world.web();
        let mut client = world.dial();
        client.send(
            b"GET /%0a%22x?\\n HTTP/1.1\r\nhost: one\r\nuser-agent: a\" 200 - \"b\\\t\x9b31m\xff\r\n\r\n",
        );
        let status = client.response().status;
        eventually("the line is there", || {
            world.proxy.access_log().ends_with('\n')
        });
        let log = world.proxy.access_log();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(
            !log.trim_end().contains(|c: char| c.is_control()),
            "{log:?}"
        );
        if status == 200 && format == "json" {
            let line: serde_json::Value = serde_json::from_str(&log).unwrap();
            assert!(
                line["user_agent"]
                    .as_str()
                    .unwrap()
                    .starts_with("a\" 200 - \"b\\"),
                "{line}"
            );
        }
    }
}
