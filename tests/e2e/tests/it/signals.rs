//! The golden signals, asked of a real Prometheus that scrapes both nodes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_e2e::{Mesh, mesh};
use weft_lab::verb::http;

const BOOKINFO: (&str, &str) = (
    "bookinfo.yaml",
    include_str!("../../manifests/bookinfo.yaml"),
);
const PRODUCTPAGE: (&str, &str) = ("bookinfo", "productpage-v1");
/// Both reviews' pods get requests; v2 is on the other node.
const SPLIT: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: bookinfo}
spec:
  hosts: [reviews]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v2}, weight: 50}
";
/// Labels that Kiali drops a series without.
const NEVER_EMPTY: &[&str] = &[
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "response_flags",
    "request_protocol",
    "response_code",
    "connection_security_policy",
];

/// A Prometheus of this test's own; killed when it is dropped.
struct Prometheus(Child);

impl Prometheus {
    fn start(mesh: &Mesh) -> Self {
        let directory = mesh.lab.config().directory.join("prometheus");
        std::fs::create_dir_all(&directory).unwrap();
        let targets: Vec<String> = mesh
            .lab
            .proxy_metrics()
            .iter()
            .map(|address| format!("'{address}'"))
            .collect();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: weft\n  static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(directory.join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                directory.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:9090")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: `cargo xtask setup` installs it");
        Self(child)
    }

    /// The result vector of a query.
    async fn query(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", escape(query));
        match http::get("127.0.0.1:9090".parse().unwrap(), &path).await {
            Ok(response) if response.status == 200 => response.json().unwrap()["data"]["result"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// The value of a query with one result, once `good` holds for it.
    async fn until(&self, query: &str, good: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + weft_e2e::DEADLINE;
        loop {
            let results = self.query(query).await;
            let value = results
                .first()
                .and_then(|row| row["value"][1].as_str()?.parse().ok());
            match value {
                Some(value) if good(value) => return value,
                _ => assert!(Instant::now() < deadline, "{query}: {results:?}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn escape(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_real_prometheus_sees_the_golden_signals_of_every_edge() {
    let manifests = [BOOKINFO, ("reviews.yaml", SPLIT)];
    mesh(
        "signals::a_real_prometheus_sees_the_golden_signals_of_every_edge",
        &manifests,
        |mesh| async move {
            let prometheus = Prometheus::start(&mesh);
            prometheus.until("sum(up)", |up| up == 2.0).await;
            for number in 0..200 {
                let path = if number % 10 == 0 {
                    "status/500"
                } else {
                    "reviews/1"
                };
                mesh.get(PRODUCTPAGE, &format!("http://reviews:9080/{path}"), &[])
                    .await;
            }
            let edge = r#"destination_service="reviews.bookinfo.svc.cluster.local",source_workload="productpage-v1""#;
            for reporter in ["source", "destination"] {
                let total = format!(r#"sum(istio_requests_total{{reporter="{reporter}",{edge}}})"#);
                assert_eq!(
                    prometheus.until(&total, |total| total >= 200.0).await,
                    200.0,
                    "{reporter}"
                );
                let failed = format!(
                    r#"sum(istio_requests_total{{reporter="{reporter}",{edge},response_code="500"}})"#
                );
                assert_eq!(
                    prometheus.until(&failed, |failed| failed >= 20.0).await,
                    20.0,
                    "{reporter}"
                );
                let versions = format!(
                    r#"count(count by (destination_version) (istio_requests_total{{reporter="{reporter}",{edge}}}))"#
                );
                assert_eq!(prometheus.until(&versions, |_| true).await, 2.0);
            }
            let p99 = format!(
                r#"histogram_quantile(0.99, sum by (le) (istio_request_duration_milliseconds_bucket{{reporter="source",{edge}}}))"#
            );
            prometheus
                .until(&p99, |p99| p99 > 0.0 && p99 < 5000.0)
                .await;
            let bytes = format!(r#"sum(istio_response_bytes_sum{{reporter="source",{edge}}})"#);
            prometheus.until(&bytes, |bytes| bytes > 0.0).await;
            let series = prometheus
                .query(&format!("istio_requests_total{{{edge}}}"))
                .await;
            assert!(!series.is_empty());
            for row in &series {
                for label in NEVER_EMPTY {
                    assert!(
                        row["metric"][label]
                            .as_str()
                            .is_some_and(|value| !value.is_empty()),
                        "{label}: {row}"
                    );
                }
                assert_eq!(row["metric"]["destination_cluster"], "Kubernetes");
            }
        },
    );
}
