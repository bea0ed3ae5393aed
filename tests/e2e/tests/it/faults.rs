//! What breaks stays broken alone: daemons die at random under traffic, labels come and go, manifests are nonsense.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weft_e2e::{DEADLINE, Mesh, mesh};
use weft_lab::Part;
use weft_lab::load::{self, Outcome, Source};
use weft_lab::verb::exec;
use weft_lab::verb::http::Target;
use weft_lab::verb::metrics::Sample;

const BOOKINFO: (&str, &str) = (
    "bookinfo.yaml",
    include_str!("../../manifests/bookinfo.yaml"),
);

/// Where the load goes.
enum To {
    /// The service; its address works for captured pods only.
    Service,
    /// The pod on the other node.
    Pod,
}

/// Requests at a fixed rate from productpage to reviews while `during` runs.
async fn under_load<T>(
    mesh: &Mesh,
    to: To,
    rate: f64,
    during: impl Future<Output = T>,
) -> (Outcome, T) {
    let view = mesh.view();
    let page = view.pod("bookinfo", "productpage-v1").unwrap();
    let url = match to {
        To::Service => "http://reviews:9080/reviews/0".to_owned(),
        To::Pod => format!(
            "http://{}:9080/reviews/0",
            view.pod("bookinfo", "reviews-v2").unwrap().ip().unwrap()
        ),
    };
    let target = Target::resolve(&view, "bookinfo", &url).unwrap();
    let source = Source {
        netns: page.netns.clone().unwrap(),
        targets: vec![target],
        headers: Vec::new(),
        connections: 4,
    };
    let stop = CancellationToken::new();
    let (outcome, result) = tokio::join!(load::open(source, rate, stop.clone()), async {
        let result = during.await;
        stop.cancel();
        result
    });
    (outcome.unwrap(), result)
}

/// Rules of every pod of the namespace, empty chains left out (the kernel keeps those).
async fn rules(mesh: &Mesh) -> String {
    let view = mesh.view();
    let mut all = String::new();
    for ((namespace, name), pod) in &view.pods {
        for flavour in ["nft", "legacy"] {
            let text = exec::rules(pod, flavour).await.unwrap();
            let rules = text.lines().filter(|line| line.starts_with("-A"));
            all.extend(rules.map(|line| format!("{namespace}/{name} {line}\n")));
        }
    }
    all
}

#[test]
fn killing_agents_and_the_operator_loses_no_request() {
    mesh(
        "faults::killing_agents_and_the_operator_loses_no_request",
        &[BOOKINFO],
        |mesh| async move {
            let before = rules(&mesh).await;
            let (outcome, ()) = under_load(&mesh, To::Service, 200.0, async {
                for _ in 0..2 {
                    mesh.lab.kill(Part::Operator, "").await.unwrap();
                    for node in ["node-1", "node-2"] {
                        mesh.lab.kill(Part::Agent, node).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        mesh.lab.start(Part::Agent, node).await.unwrap();
                    }
                    mesh.lab.start(Part::Operator, "").await.unwrap();
                    mesh.lab.synced(DEADLINE).await.unwrap();
                }
            })
            .await;
            assert_eq!(
                (outcome.failed(), outcome.responses() - outcome.good()),
                (0, 0),
                "{:?}",
                outcome.errors
            );
            assert_eq!(
                rules(&mesh).await,
                before,
                "a restarted agent adopts what is captured and changes no rule"
            );
        },
    );
}

#[test]
fn a_killed_proxy_comes_back_and_nothing_bypasses_it() {
    mesh(
        "faults::a_killed_proxy_comes_back_and_nothing_bypasses_it",
        &[BOOKINFO],
        |mesh| async move {
            let before = rules(&mesh).await;
            let (outcome, ()) = under_load(&mesh, To::Service, 100.0, async {
                for node in ["node-1", "node-2"] {
                    mesh.lab.kill(Part::Proxy, node).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    mesh.lab.start(Part::Proxy, node).await.unwrap();
                    mesh.get(
                        ("bookinfo", "productpage-v1"),
                        "http://reviews:9080/reviews/0",
                        &[],
                    )
                    .await;
                }
                tokio::time::sleep(Duration::from_millis(700)).await;
            })
            .await;
            // Connections that the dead process carried are lost with it; new ones wait in the backlog and are served.
            assert!(outcome.failed() <= 16, "{:?}", outcome.errors);
            assert!(outcome.good() > 50, "{:?}", outcome.statuses);
            assert_eq!(rules(&mesh).await, before);
            for _ in 0..20 {
                mesh.version(
                    ("bookinfo", "productpage-v1"),
                    "http://reviews:9080/reviews/0",
                    &[],
                )
                .await;
            }
        },
    );
}

#[test]
fn pods_that_run_are_captured_when_their_namespace_is_labelled_and_released_when_it_is_not() {
    let plain = BOOKINFO.1.replace("weft.mesh/mode: enabled", "team: books");
    mesh(
        "faults::pods_that_run_are_captured_when_their_namespace_is_labelled_and_released_when_it_is_not",
        &[("bookinfo.yaml", &plain.clone())],
        |mesh| async move {
            assert_eq!(
                rules(&mesh).await,
                "",
                "a namespace without the label is not touched"
            );
            let (outcome, ()) = under_load(&mesh, To::Pod, 100.0, async {
                mesh.apply("bookinfo.yaml", BOOKINFO.1).await;
                until(&mesh, |rules| {
                    rules.contains("15001") && rules.contains("15006")
                })
                .await;
                mesh.get(
                    ("bookinfo", "productpage-v1"),
                    "http://reviews:9080/reviews/0",
                    &[],
                )
                .await;
                mesh.until_metrics("a request after enrolment", |samples| {
                    weft_lab::verb::metrics::sum(samples, "istio_requests_total", &[]) >= 1.0
                })
                .await;
                mesh.apply("bookinfo.yaml", &plain).await;
                until(&mesh, |rules| {
                    !rules.contains("15001") && !rules.contains("15006")
                })
                .await;
            })
            .await;
            assert_eq!(
                (outcome.failed(), outcome.responses() - outcome.good()),
                (0, 0),
                "{:?}",
                outcome.errors
            );
        },
    );
}

async fn until(mesh: &Mesh, check: impl Fn(&str) -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let now = rules(mesh).await;
        if check(&now) {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the rules never became what they should:\n{now}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_broken_manifest_is_named_and_traffic_goes_on() {
    mesh(
        "faults::a_broken_manifest_is_named_and_traffic_goes_on",
        &[BOOKINFO],
        |mesh| async move {
            let good = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews, namespace: bookinfo}\n\
                    spec:\n  hosts: [reviews]\n  http:\n  - route: [{destination: {host: reviews, subset: v2}}]\n";
            mesh.apply("reviews.yaml", good).await;
            let url = "http://reviews:9080/reviews/0";
            let page = ("bookinfo", "productpage-v1");
            assert_eq!(mesh.version(page, url, &[]).await, "v2");
            let broken = [
                ("not YAML", good.replace("http:", "http: [{")),
                (
                    "a number where a list belongs",
                    good.replace("[reviews]", "7"),
                ),
                (
                    "a weight that is a word",
                    good.replace("subset: v2}}", "subset: v2}, weight: half}"),
                ),
                ("an empty file", String::from("kind: VirtualService\n")),
            ];
            for (what, text) in broken {
                mesh.lab.apply("reviews.yaml", &text).await.unwrap();
                let deadline = tokio::time::Instant::now() + DEADLINE;
                loop {
                    let findings = mesh
                        .lab
                        .operator("/debug/diagnostics")
                        .await
                        .unwrap()
                        .to_string();
                    if findings.contains("reviews.yaml") {
                        break;
                    }
                    assert!(
                        tokio::time::Instant::now() < deadline,
                        "{what} is not reported: {findings}"
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                assert_eq!(
                    mesh.version(page, url, &[]).await,
                    "v2",
                    "{what}: the last good state serves"
                );
            }
            mesh.apply("reviews.yaml", &good.replace("v2", "v1")).await;
            assert_eq!(
                mesh.version(page, url, &[]).await,
                "v1",
                "a repaired file counts at once"
            );
        },
    );
}

/// A namespace with these labels, and a pod for each name.
fn joining(labels: &str, pods: &[&str]) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: joining, labels: {labels}}}\n");
    for pod in pods {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: joining, labels: {{app: {pod}}}}}\n\
             spec:\n  containers:\n  - {{name: app, image: sample, ports: [{{name: http, containerPort: 80}}]}}\n"
        );
    }
    text
}

/// Newest generation that all proxies have.
fn generation(samples: &[Sample]) -> f64 {
    let of_proxies = samples
        .iter()
        .filter(|sample| sample.name == "weft_tables_generation");
    of_proxies
        .map(|sample| sample.value)
        .fold(f64::INFINITY, f64::min)
}

#[test]
fn a_label_that_comes_while_the_agents_are_dead_keeps_new_pods_waiting_for_them() {
    let file = "joining.yaml";
    mesh(
        "faults::a_label_that_comes_while_the_agents_are_dead_keeps_new_pods_waiting_for_them",
        &[(file, &joining("{}", &["first"]))],
        |mesh| async move {
            for node in ["node-1", "node-2"] {
                mesh.lab.kill(Part::Agent, node).await.unwrap();
            }
            // Without the label a pod starts: the list that the agents have left says that it may.
            let apply = async |text: String| mesh.lab.apply(file, &text).await.unwrap();
            apply(joining("{}", &["first", "second"])).await;
            mesh.lab.settled(DEADLINE).await.unwrap();
            let before = generation(&mesh.metrics().await);
            let label = "{weft.mesh/mode: enabled}";
            apply(joining(label, &["first", "second"])).await;
            mesh.until_metrics("proxies hear of the label", |samples| {
                generation(samples) > before
            })
            .await;
            apply(joining(label, &["first", "second", "third"])).await;
            let told = |view: &weft_lab::View| {
                let third = view.pod("joining", "third");
                third.is_some_and(|pod| pod.waiting.contains("code 11"))
            };
            mesh.lab.wait(DEADLINE, told).await.unwrap();
            for node in ["node-1", "node-2"] {
                mesh.lab.start(Part::Agent, node).await.unwrap();
            }
            mesh.lab.settled(DEADLINE).await.unwrap();
            let third = mesh.view().pod("joining", "third").unwrap().clone();
            let rules = exec::rules(&third, "nft").await.unwrap()
                + &exec::rules(&third, "legacy").await.unwrap();
            assert!(rules.contains("15001"), "it starts captured: {rules}");
            until(&mesh, |rules| rules.contains("joining/second -A WEFT_OUT")).await;
        },
    );
}
