//! The four policies that users show each other, with the manifests as they write them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weft_e2e::mesh;
use weft_lab::load::{self, Source};
use weft_lab::verb::http::Target;
use weft_lab::verb::metrics::sum;

const BOOKINFO: (&str, &str) = (
    "bookinfo.yaml",
    include_str!("../../manifests/bookinfo.yaml"),
);
const BOUTIQUE: (&str, &str) = (
    "boutique.yaml",
    include_str!("../../manifests/boutique.yaml"),
);
const PRODUCTPAGE: (&str, &str) = ("bookinfo", "productpage-v1");
const LOADGENERATOR: (&str, &str) = ("boutique", "loadgenerator");

fn reviews(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews, namespace: bookinfo}}\n\
         spec:\n  hosts: [reviews]\n  http:\n{http}"
    )
}

#[test]
fn a_header_sends_jason_to_v2_and_everyone_else_to_v1() {
    mesh(
        "decks::a_header_sends_jason_to_v2_and_everyone_else_to_v1",
        &[BOOKINFO],
        |mesh| async move {
            mesh.apply(
            "reviews.yaml",
            &reviews(
                "  - match: [{headers: {end-user: {exact: jason}}}]\n    route: [{destination: {host: reviews, subset: v2}}]\n\
                 \x20 - route: [{destination: {host: reviews, subset: v1}}]\n",
            ),
        )
        .await;
            let url = "http://reviews:9080/reviews/0";
            for _ in 0..20 {
                assert_eq!(
                    mesh.version(PRODUCTPAGE, url, &[("end-user", "jason")])
                        .await,
                    "v2"
                );
                assert_eq!(
                    mesh.version(PRODUCTPAGE, url, &[("end-user", "maria")])
                        .await,
                    "v1"
                );
                assert_eq!(mesh.version(PRODUCTPAGE, url, &[]).await, "v1");
            }
        },
    );
}

#[test]
fn a_uri_prefix_sends_to_the_new_frontend() {
    mesh(
        "decks::a_uri_prefix_sends_to_the_new_frontend",
        &[BOUTIQUE],
        |mesh| async move {
            for _ in 0..20 {
                assert_eq!(
                    mesh.version(LOADGENERATOR, "http://frontend/neu/cart", &[])
                        .await,
                    "v2"
                );
                assert_eq!(
                    mesh.version(LOADGENERATOR, "http://frontend/neuland", &[])
                        .await,
                    "v2"
                );
                assert_eq!(
                    mesh.version(LOADGENERATOR, "http://frontend/", &[]).await,
                    "v1"
                );
                assert_eq!(
                    mesh.version(LOADGENERATOR, "http://frontend/alt/neu", &[])
                        .await,
                    "v1"
                );
            }
        },
    );
}

#[test]
fn weights_split_ten_thousand_requests() {
    mesh(
        "decks::weights_split_ten_thousand_requests",
        &[BOOKINFO],
        |mesh| async move {
            for (to_v1, to_v2) in [(80, 20), (50, 50)] {
                mesh.apply(
                "reviews.yaml",
                &reviews(&format!(
                    "  - route:\n    - {{destination: {{host: reviews, subset: v1}}, weight: {to_v1}}}\n\
                     \x20   - {{destination: {{host: reviews, subset: v2}}, weight: {to_v2}}}\n"
                )),
            )
            .await;
                let before = by_version(&mesh).await;
                let view = mesh.view();
                let page = view.pod("bookinfo", "productpage-v1").unwrap();
                let target =
                    Target::resolve(&view, "bookinfo", "http://reviews:9080/reviews/0").unwrap();
                let source = Source {
                    netns: page.netns.clone().unwrap(),
                    targets: vec![target],
                    headers: Vec::new(),
                    connections: 8,
                };
                let outcome = load::closed(source, Some(10_000), CancellationToken::new())
                    .await
                    .unwrap();
                assert_eq!(
                    outcome.statuses,
                    BTreeMap::from([(200, 10_000)]),
                    "{:?}",
                    outcome.errors
                );
                let total = f64::from(10_000);
                mesh.until_metrics("10,000 requests", |_| true).await;
                let mut share = BTreeMap::new();
                let deadline = Instant::now() + weft_e2e::DEADLINE;
                loop {
                    let after = by_version(&mesh).await;
                    for version in ["v1", "v2"] {
                        share.insert(version, after[version] - before[version]);
                    }
                    if share.values().sum::<f64>() >= total || Instant::now() > deadline {
                        break;
                    }
                }
                assert_eq!(share.values().sum::<f64>(), total);
                // Four standard deviations of a binomial share of 10,000 are two points.
                assert!(
                    (share["v1"] / total * 100.0 - f64::from(to_v1)).abs() <= 2.0,
                    "{to_v1}/{to_v2}: {share:?}"
                );
            }
        },
    );
}

/// Requests to reviews by the version that answered, as the clients' side reports them.
async fn by_version(mesh: &weft_e2e::Mesh) -> BTreeMap<&'static str, f64> {
    let samples = mesh.metrics().await;
    ["v1", "v2"]
        .into_iter()
        .map(|version| {
            let filters = [
                ("reporter", "source"),
                ("destination_service_name", "reviews"),
                ("destination_version", version),
            ];
            (version, sum(&samples, "istio_requests_total", &filters))
        })
        .collect()
}

#[test]
fn retries_hide_two_failures_and_time_limits_end_a_hang() {
    mesh(
        "decks::retries_hide_two_failures_and_time_limits_end_a_hang",
        &[BOUTIQUE],
        |mesh| async move {
            let url = "http://recommendationservice:8080/fail-first/2?key=deck";
            let response = mesh.get(LOADGENERATOR, url, &[]).await;
            assert_eq!(response.status, 200, "{}", response.text());

            let started = Instant::now();
            let response = mesh
                .get(LOADGENERATOR, "http://recommendationservice:8080/hang", &[])
                .await;
            let took = started.elapsed();
            assert_eq!(response.status, 504, "{}", response.text());
            assert!(
                took >= Duration::from_millis(1900) && took < Duration::from_millis(5000),
                "{took:?}"
            );
            let filters = [
                ("destination_service_name", "recommendationservice"),
                ("response_flags", "UT"),
            ];
            mesh.until_metrics("a UT flag", |samples| {
                sum(samples, "istio_requests_total", &filters) > 0.0
            })
            .await;

            let response = mesh
                .get(
                    LOADGENERATOR,
                    "http://recommendationservice:8080/fail-first/9?key=more",
                    &[],
                )
                .await;
            assert_eq!(response.status, 503, "three retries are used up");
            let filters = [
                ("destination_service_name", "recommendationservice"),
                ("response_flags", "URX"),
            ];
            mesh.until_metrics("a URX flag", |samples| {
                sum(samples, "istio_requests_total", &filters) > 0.0
            })
            .await;
        },
    );
}
