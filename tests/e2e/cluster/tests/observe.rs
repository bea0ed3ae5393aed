//! What Prometheus sees of a shop on Kubernetes: the usual annotations lead it to every proxy, agent and operator, and
//! what Kiali and Istio's boards ask gives series for every edge of the shop, from both reporters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

mod patience;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;
use weft_cluster::{Cluster, Config, Mesh, Node, Progress, programs};

use patience::{PATIENCE, eventually};

const SHOP: &str = include_str!("../../../../deploy/samples/shop.yaml");
const SCRAPING: &str = include_str!("../../../../deploy/samples/prometheus.yaml");
const BOARDS: &str = include_str!("observe/boards.json");
/// On a node, where nobody else uses them.
const PROMETHEUS: &str = "127.0.0.1:9090";
const DISCOVERY: &str = "127.0.0.1:9091";

/// Client, service, server: who calls whom over HTTP.
const HTTP: [[&str; 3]; 13] = [
    ["visitors", "frontend", "frontend-v1"],
    ["frontend-v1", "ads", "ads-v1"],
    ["frontend-v1", "cart", "cart-v1"],
    ["frontend-v1", "catalog", "catalog-v1"],
    ["frontend-v1", "checkout", "checkout-v1"],
    ["frontend-v1", "recommendation", "recommendation-v1"],
    ["recommendation-v1", "catalog", "catalog-v1"],
    ["catalog-v1", "reviews", "reviews-v1"],
    ["catalog-v1", "reviews", "reviews-v2"],
    ["reviews-v1", "ratings", "ratings-v1"],
    ["reviews-v2", "ratings", "ratings-v1"],
    ["checkout-v1", "payment", "payment-v1"],
    ["checkout-v1", "shipping", "shipping-v1"],
];
/// And over TCP.
const TCP: [[&str; 3]; 1] = [["cart-v1", "store", "store-v1"]];

#[test]
fn the_boards_show_every_edge_of_the_shop() {
    let config = Config::for_test("observe").unwrap();
    let discovery = programs::DISCOVERY.ensure(&Progress::stderr()).unwrap();
    let cluster = Cluster::up(&config).unwrap();
    let node = cluster.node(1).unwrap();
    Mesh::install(&cluster, &config, &[]).unwrap();
    cluster.apply(SHOP).unwrap();
    let all = ["-n", "shop", "deployments", "--all"];
    cluster.wait("condition=Available", &all, PATIENCE).unwrap();
    // Now, so that what failed while servers were starting is no rate.
    let prometheus = Prometheus::start(node, &config, &discovery.join("discovery"));

    config.progress.say("the shop is open, Prometheus runs");
    finds_every_part(&prometheus);
    golden_signals(&prometheus);
    config
        .progress
        .say("Prometheus sees every part and the golden signals");
    let boards: Value = serde_json::from_str(BOARDS).unwrap();
    let mut asked = 0;
    for query in boards["queries"].as_array().unwrap() {
        let query = Query::read(query);
        for question in query.questions() {
            eventually(query.name, || query.check(&prometheus, &question));
            asked += 1;
        }
    }
    config
        .progress
        .say(format!("{asked} questions of boards are answered"));
}

/// Two nodes, each with an agent and a proxy; two operators.
fn finds_every_part(prometheus: &Prometheus<'_>) {
    for part in ["agent", "proxy", "operator"] {
        let query = format!("sum(up{{namespace=\"weft-system\",part=\"weft-{part}\"}})");
        eventually(&query, || match prometheus.number(&query)? {
            2.0 => Ok(()),
            other => Err(format!("{other} answer")),
        });
    }
}

/// Traffic, errors, latency, for the shop as a whole.
fn golden_signals(prometheus: &Prometheus<'_>) {
    let of = "reporter=\"destination\",destination_service_namespace=\"shop\"";
    let rate = format!("sum(rate(istio_requests_total{{{of}}}[30s]))");
    let good =
        format!("sum(rate(istio_requests_total{{{of},response_code!~\"5..\"}}[30s])) / {rate}");
    let slow = format!(
        "histogram_quantile(0.99, sum by (le) \
         (rate(istio_request_duration_milliseconds_bucket{{{of}}}[30s])))"
    );
    eventually("twenty visitors a second make traffic", || {
        let rate = prometheus.number(&rate)?;
        if rate > 20.0 {
            Ok(())
        } else {
            Err(format!("{rate} requests a second"))
        }
    });
    // While pods were starting some of their callers were told so; on a busy machine a retry comes too late now and then.
    eventually("requests succeed", || {
        let share = prometheus.number(&good)?;
        match share > 0.99 {
            true => Ok(()),
            false => Err(format!("{share} succeed")),
        }
    });
    eventually("requests have a latency", || {
        let ms = prometheus.number(&slow)?;
        if ms > 0.0 {
            Ok(())
        } else {
            Err(format!("p99 {ms} ms"))
        }
    });
}

/// One question of a board, of `boards.json`.
struct Query<'q> {
    name: &'q str,
    /// The edges that it is about.
    edges: Vec<[String; 3]>,
    /// Asked once for each of these.
    of: &'q str,
    /// The labels of its series that are compared.
    by: Vec<&'q str>,
    text: &'q str,
}

/// A query with its variables filled in, and what its series must name.
struct Question {
    text: String,
    expected: BTreeSet<Vec<String>>,
}

impl<'q> Query<'q> {
    fn read(query: &'q Value) -> Self {
        let text = |field: &str| query[field].as_str().unwrap();
        let edges = match text("protocol") {
            "http" => HTTP.to_vec(),
            "tcp" => TCP.to_vec(),
            "all" => [&HTTP[..], &TCP].concat(),
            "none" => Vec::new(),
            other => panic!("protocol {other}"),
        };
        let host = |[client, service, server]: [&str; 3]| {
            let host = format!("{service}.shop.svc.cluster.local");
            [client.to_owned(), host, server.to_owned()]
        };
        Self {
            name: text("panel"),
            edges: edges.into_iter().map(host).collect(),
            of: text("of"),
            by: query["by"]
                .as_array()
                .unwrap()
                .iter()
                .map(|l| l.as_str().unwrap())
                .collect(),
            text: text("query"),
        }
    }

    fn questions(&self) -> Vec<Question> {
        let column = match self.of {
            "namespace" => return self.reporters("", &self.edges),
            "client" => 0,
            "service" => 1,
            "server" => 2,
            other => panic!("of {other}"),
        };
        let subjects: BTreeSet<&String> = self.edges.iter().map(|edge| &edge[column]).collect();
        let one = |subject: &String| {
            let edges = self.edges.iter().filter(|edge| edge[column] == *subject);
            self.reporters(subject, &edges.cloned().collect::<Vec<_>>())
        };
        subjects.into_iter().flat_map(one).collect()
    }

    /// From both points of view, if it asks for one.
    fn reporters(&self, subject: &str, edges: &[[String; 3]]) -> Vec<Question> {
        let column = |label: &&str| match *label {
            "source_workload" => 0,
            "destination_service" => 1,
            "destination_workload" => 2,
            other => panic!("label {other}"),
        };
        let columns: Vec<usize> = self.by.iter().map(column).collect();
        let row = |edge: &[String; 3]| columns.iter().map(|c| edge[*c].clone()).collect();
        let expected: BTreeSet<Vec<String>> = edges.iter().map(row).collect();
        let mut texts: Vec<String> = ["source", "destination"]
            .map(|reporter| self.text.replace("$qrep", reporter))
            .into();
        texts.dedup();
        let fill = |text: String| Question {
            text: text
                .replace("$namespace", "shop")
                .replace("$service", subject)
                .replace("$workload", subject),
            expected: expected.clone(),
        };
        texts.into_iter().map(fill).collect()
    }

    fn check(&self, prometheus: &Prometheus<'_>, question: &Question) -> Result<(), String> {
        let series = prometheus.ask(&question.text)?;
        let mut found = BTreeSet::new();
        for one in &series {
            let labels = one["metric"].as_object().unwrap();
            if let Some((name, _)) = labels.iter().find(|(_, value)| *value == "") {
                return Err(format!("label {name} is empty: {one}"));
            }
            if number(one).is_nan() {
                return Err(format!("no number yet: {} {one}", question.text));
            }
            // Where a probe was late and a Service had nobody for a moment, a request reached nobody: that is no edge.
            if labels
                .get("destination_workload")
                .is_some_and(|it| it == "unknown")
            {
                continue;
            }
            let value = |label: &&str| labels.get(*label).and_then(Value::as_str);
            let row: Vec<String> = self
                .by
                .iter()
                .map(|label| value(label).unwrap_or_default().to_owned())
                .collect();
            found.insert(row);
        }
        if found == question.expected {
            return Ok(());
        }
        let missing: Vec<_> = question.expected.difference(&found).collect();
        let foreign: Vec<_> = found.difference(&question.expected).collect();
        Err(format!(
            "{}: missing {missing:?}, unexpected {foreign:?}",
            question.text
        ))
    }
}

/// Debian's Prometheus on a node, with Prometheus' own discovery of pods beside it, which Debian leaves out.
struct Prometheus<'n> {
    node: &'n Node,
    processes: Vec<Child>,
}

impl<'n> Prometheus<'n> {
    fn start(node: &'n Node, config: &Config, discovery: &std::path::Path) -> Self {
        let files = node.directory().join("prometheus");
        std::fs::create_dir(&files).unwrap();
        // The cluster's directory is /mnt inside.
        let inside = format!("/mnt/nodes/{}/prometheus", node.name());
        let kubeconfig = "/mnt/keys/admin.conf";
        std::fs::write(files.join("scraping.yaml"), SCRAPING).unwrap();
        let ours = SCRAPING
            .replace("scrape_interval: 15s", "scrape_interval: 1s")
            .replace("kubernetes_sd_configs:", "http_sd_configs:")
            .replace(
                "- role: pod",
                &format!("- url: http://{DISCOVERY}/\n        refresh_interval: 1s"),
            );
        assert!(ours.contains("refresh_interval") && ours.contains("scrape_interval: 1s"));
        std::fs::write(files.join("prometheus.yaml"), ours).unwrap();
        assert!(config.directory().join("keys/admin.conf").is_file());
        std::fs::copy(discovery, files.join("discovery")).unwrap();
        let start = |program: &str, arguments: &[&str]| {
            let log =
                std::fs::File::create(files.join(format!("{}.log", arguments.len()))).unwrap();
            let mut command = node.command(program).unwrap();
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            command.spawn().unwrap()
        };
        let processes = vec![
            start(
                &format!("{inside}/discovery"),
                &[&format!("{inside}/scraping.yaml"), kubeconfig, DISCOVERY],
            ),
            start(
                "/usr/bin/prometheus",
                &[
                    &format!("--config.file={inside}/prometheus.yaml"),
                    &format!("--storage.tsdb.path={inside}/data"),
                    &format!("--web.listen-address={PROMETHEUS}"),
                    "--log.level=warn",
                ],
            ),
        ];
        Self { node, processes }
    }

    /// The series that answer a query.
    fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query.bytes().map(encode).collect();
        let request =
            format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: {PROMETHEUS}\r\n\r\n");
        let exchange = || {
            let mut stream = TcpStream::connect(PROMETHEUS)?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        };
        let text = self.node.netns().unwrap().run(exchange).unwrap();
        let text = text.map_err(|error| format!("Prometheus does not answer: {error}"))?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: Value = serde_json::from_str(body).map_err(|_| format!("{query}: {text}"))?;
        // A query that Prometheus cannot read is a fault of the test.
        assert_ne!(answer["errorType"], "bad_data", "{query}: {answer}");
        let series = answer["data"]["result"].as_array();
        series.cloned().ok_or_else(|| format!("{query}: {answer}"))
    }

    fn number(&self, query: &str) -> Result<f64, String> {
        let series = self.ask(query)?;
        let first = series
            .first()
            .ok_or_else(|| format!("{query}: no series"))?;
        Ok(number(first))
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn number(series: &Value) -> f64 {
    let text = series["value"][1].as_str().unwrap_or_default();
    text.parse().unwrap_or(f64::NAN)
}

fn encode(byte: u8) -> String {
    match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    }
}
