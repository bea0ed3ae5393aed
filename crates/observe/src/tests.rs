//! Metrics from record to scrape, read back by a strict parser.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::exposition::{Family, Sample, parse};
use crate::labels::LABELS;
use crate::{
    Edge, EdgeKey, Metrics, Outcome, Peer, Protocol, Reporters, Security, ServiceLabels, Settings,
    Shard,
};

const OK: Outcome = Outcome {
    code: 200,
    flags: "-",
    grpc: None,
};
const FAILED: Outcome = Outcome {
    code: 503,
    flags: "UF",
    grpc: None,
};

fn peer(name: &str) -> Arc<Peer> {
    Arc::new(Peer {
        workload: name.to_owned(),
        namespace: "shop".to_owned(),
        canonical_service: name.to_owned(),
        canonical_revision: "v1".to_owned(),
        app: name.to_owned(),
        version: "v1".to_owned(),
        cluster: "Kubernetes".to_owned(),
        ..Peer::unknown()
    })
}

fn key(source: &str, destination: &str, reporters: Reporters) -> EdgeKey {
    EdgeKey {
        source: peer(source),
        destination: peer(destination),
        service: Arc::new(ServiceLabels::of_member(&weft_model::id::ObjectName::new(
            "shop",
            destination,
        ))),
        protocol: Protocol::Http,
        security: Security::None,
        reporters,
    }
}

fn scrape(metrics: &Metrics, now: u64) -> BTreeMap<String, Family> {
    let mut out = Vec::new();
    metrics.render(now, &mut out);
    parse(&out)
}

/// The first family alone: reading all histograms takes long in a debug build.
fn counters(metrics: &Metrics, now: u64) -> BTreeMap<String, Family> {
    let mut out = Vec::new();
    let mut scrape = metrics.scrape(now);
    let end = loop {
        let from = out.len();
        assert!(scrape.next_piece(&mut out));
        if from > 0 && out[from..].starts_with(b"# HELP") || from == out.len() {
            break from;
        }
    };
    parse(&out[..end])
}

/// Samples of one name that have these labels.
fn find<'f>(
    families: &'f BTreeMap<String, Family>,
    family: &str,
    name: &str,
    labels: &[(&str, &str)],
) -> Vec<&'f Sample> {
    let Some(family) = families.get(family) else {
        return Vec::new();
    };
    let has = |sample: &&Sample| {
        labels
            .iter()
            .all(|(key, value)| sample.labels.get(*key).is_some_and(|is| is == value))
    };
    family
        .samples
        .iter()
        .filter(|sample| sample.name == name)
        .filter(has)
        .collect()
}

fn value(families: &BTreeMap<String, Family>, family: &str, labels: &[(&str, &str)]) -> f64 {
    let found = find(families, family, family, labels);
    assert_eq!(found.len(), 1, "{family} {labels:?}");
    found[0].value
}

const REQUESTS: &str = "istio_requests_total";

#[test]
fn one_request_is_in_every_family_of_both_reporters_with_every_label() {
    let metrics = Metrics::new();
    metrics
        .shard()
        .edge(&key("web", "reviews", Reporters::Both))
        .request(OK, 12_345, 10, 2_000);
    let families = scrape(&metrics, 1);
    for reporter in ["source", "destination"] {
        let labels = [
            ("reporter", reporter),
            ("response_code", "200"),
            ("grpc_response_status", "unknown"),
            ("response_flags", "-"),
        ];
        assert_eq!(value(&families, REQUESTS, &labels), 1.0);
        for (family, sum) in [
            ("istio_request_duration_milliseconds", 12.345),
            ("istio_request_bytes", 10.0),
            ("istio_response_bytes", 2_000.0),
        ] {
            assert_eq!(
                find(&families, family, &format!("{family}_sum"), &labels)[0].value,
                sum
            );
            assert_eq!(
                find(&families, family, &format!("{family}_count"), &labels)[0].value,
                1.0
            );
            assert_eq!(
                find(&families, family, &format!("{family}_bucket"), &labels).len(),
                20
            );
        }
        let le = |bound: &str| {
            let labels = [labels.as_slice(), &[("le", bound)]].concat();
            find(
                &families,
                "istio_request_duration_milliseconds",
                "istio_request_duration_milliseconds_bucket",
                &labels,
            )[0]
            .value
        };
        assert_eq!((le("10"), le("25")), (0.0, 1.0));
    }
    for sample in &families[REQUESTS].samples {
        assert_eq!(sample.labels.len(), 25);
        for label in &LABELS {
            assert!(sample.labels.contains_key(label.name), "{}", label.name);
        }
        assert_eq!(
            sample.labels["destination_service"],
            "reviews.shop.svc.cluster.local"
        );
        assert_eq!(sample.labels["source_workload"], "web");
        assert_eq!(sample.labels["source_cluster"], "Kubernetes");
    }
    assert!(
        !families.contains_key("istio_tcp_sent_bytes_total"),
        "nothing to show, nothing shown"
    );
}

#[test]
fn shards_and_pods_of_one_workload_add_up_and_reporters_stay_apart() {
    let metrics = Metrics::new();
    let (one, two) = (metrics.shard(), metrics.shard());
    one.edge(&key("web", "reviews", Reporters::Both))
        .request(OK, 1, 0, 0);
    two.edge(&key("web", "reviews", Reporters::Both))
        .request(OK, 1, 0, 0);
    two.edge(&key("web", "reviews", Reporters::Source))
        .request(OK, 1, 0, 0);
    one.edge(&key("web", "reviews", Reporters::Destination))
        .request(OK, 1, 0, 0);
    one.edge(&key("web", "reviews", Reporters::Destination))
        .request(FAILED, 1, 0, 0);
    let families = scrape(&metrics, 1);
    assert_eq!(value(&families, REQUESTS, &[("reporter", "source")]), 3.0);
    assert_eq!(
        value(
            &families,
            REQUESTS,
            &[("reporter", "destination"), ("response_code", "200")]
        ),
        3.0
    );
    assert_eq!(
        value(
            &families,
            REQUESTS,
            &[("reporter", "destination"), ("response_flags", "UF")]
        ),
        1.0
    );
}

#[test]
fn connections_count_bytes_by_direction_and_flags_at_their_end() {
    let metrics = Metrics::new();
    let edge = metrics.shard().edge(&EdgeKey {
        protocol: Protocol::Tcp,
        ..key("web", "redis", Reporters::Source)
    });
    edge.tcp_opened();
    edge.tcp_bytes(100, 7);
    edge.tcp_bytes(1, 0);
    edge.tcp_opened();
    edge.tcp_closed("-");
    edge.tcp_closed("UF");
    let families = scrape(&metrics, 1);
    let plain = [("response_flags", "-"), ("request_protocol", "tcp")];
    assert_eq!(
        value(&families, "istio_tcp_connections_opened_total", &plain),
        2.0
    );
    assert_eq!(
        value(&families, "istio_tcp_connections_closed_total", &plain),
        1.0
    );
    assert_eq!(
        value(
            &families,
            "istio_tcp_connections_closed_total",
            &[("response_flags", "UF")]
        ),
        1.0
    );
    assert_eq!(value(&families, "istio_tcp_sent_bytes_total", &[]), 101.0);
    assert_eq!(value(&families, "istio_tcp_received_bytes_total", &[]), 7.0);
    assert_eq!(
        families["istio_tcp_sent_bytes_total"].samples[0]
            .labels
            .len(),
        23
    );
    assert!(!families.contains_key(REQUESTS));
}

#[test]
fn any_label_value_is_escaped() {
    let metrics = Metrics::new();
    let strange = "a\"b\\c\nd=\"x\",ü";
    metrics
        .shard()
        .edge(&key(strange, "reviews", Reporters::Source))
        .request(OK, 1, 0, 0);
    assert_eq!(
        value(
            &scrape(&metrics, 1),
            REQUESTS,
            &[("source_workload", strange)]
        ),
        1.0
    );
}

#[test]
fn sizes_can_be_sum_and_count_alone() {
    let metrics = Metrics::with(Settings {
        size_histograms: false,
        ..Settings::default()
    });
    metrics
        .shard()
        .edge(&key("web", "reviews", Reporters::Source))
        .request(OK, 1_500, 5, 6);
    let families = scrape(&metrics, 1);
    assert_eq!(families["istio_request_bytes"].kind, "summary");
    assert_eq!(families["istio_request_bytes"].samples.len(), 2);
    assert_eq!(
        families["istio_request_duration_milliseconds"].kind,
        "histogram"
    );
}

fn outcomes(edge: &Edge, count: u16) {
    for code in 0..count {
        edge.request(
            Outcome {
                code: 100 + code,
                flags: "-",
                grpc: None,
            },
            1,
            0,
            0,
        );
    }
}

#[test]
fn what_is_over_the_limit_is_counted_in_one_series() {
    let metrics = Metrics::with(Settings {
        max_series: 10,
        ..Settings::default()
    });
    let shards = [metrics.shard(), metrics.shard()];
    for round in 0..3 {
        for shard in &shards {
            for name in 0..40 {
                outcomes(
                    &shard.edge(&key("web", &format!("s{name}"), Reporters::Both)),
                    1,
                );
            }
        }
        let families = scrape(&metrics, round);
        let all: f64 = find(&families, REQUESTS, REQUESTS, &[("reporter", "source")])
            .iter()
            .map(|sample| sample.value)
            .sum();
        let requests = f64::from(80 * (u32::try_from(round).unwrap() + 1));
        assert_eq!(all, requests, "nothing is lost");
        assert_eq!(families[REQUESTS].samples.len(), 22);
        let overflow = [
            ("reporter", "source"),
            ("source_workload", "overflow"),
            ("response_code", "overflow"),
        ];
        assert_eq!(value(&families, REQUESTS, &overflow), requests * 0.75);
        assert_eq!(
            value(&families, "weft_metrics_overflow_total", &[]),
            requests * 0.75
        );
        assert_eq!(value(&families, "weft_metrics_series", &[]), 11.0);
    }
}

#[test]
fn one_edge_tells_only_so_many_outcomes_apart() {
    let metrics = Metrics::new();
    let edge = metrics
        .shard()
        .edge(&key("web", "reviews", Reporters::Source));
    outcomes(&edge, 900);
    outcomes(&edge, 900);
    let families = counters(&metrics, 1);
    assert_eq!(
        families[REQUESTS].samples.len(),
        crate::edge::MAX_OUTCOMES + 1
    );
    assert_eq!(
        families[REQUESTS]
            .samples
            .iter()
            .map(|sample| sample.value)
            .sum::<f64>(),
        1800.0
    );
}

#[test]
fn an_idle_series_goes_and_comes_back_from_nothing() {
    let metrics = Metrics::with(Settings {
        idle_millis: 600,
        ..Settings::default()
    });
    let shards = [metrics.shard(), metrics.shard()];
    let edges: Vec<Arc<Edge>> = shards
        .iter()
        .map(|shard| shard.edge(&key("web", "reviews", Reporters::Source)))
        .collect();
    for edge in &edges {
        edge.request(OK, 1, 0, 0);
    }
    assert_eq!(value(&scrape(&metrics, 1_000), REQUESTS, &[]), 2.0);
    assert_eq!(value(&scrape(&metrics, 1_599), REQUESTS, &[]), 2.0);
    edges[0].request(OK, 1, 0, 0);
    assert_eq!(value(&scrape(&metrics, 1_700), REQUESTS, &[]), 3.0);
    assert_eq!(value(&scrape(&metrics, 2_299), REQUESTS, &[]), 3.0);
    assert!(!scrape(&metrics, 2_300).contains_key(REQUESTS));
    edges[0].request(OK, 1, 0, 0);
    assert_eq!(
        value(&scrape(&metrics, 2_400), REQUESTS, &[]),
        1.0,
        "a counter that came back begins at its first record"
    );
    edges[1].request(OK, 1, 0, 0);
    assert_eq!(value(&scrape(&metrics, 2_500), REQUESTS, &[]), 2.0);
}

#[test]
fn the_overflow_total_never_goes_back() {
    let metrics = Metrics::with(Settings {
        max_series: 0,
        idle_millis: 10,
        ..Settings::default()
    });
    let edge = metrics
        .shard()
        .edge(&key("web", "reviews", Reporters::Source));
    let total = |now| value(&scrape(&metrics, now), "weft_metrics_overflow_total", &[]);
    edge.request(OK, 1, 0, 0);
    assert_eq!([total(1), total(20), total(40)], [1.0, 1.0, 1.0]);
    edge.request(OK, 1, 0, 0);
    assert_eq!([total(41), total(60)], [2.0, 2.0]);
}

fn churn(shard: &Shard, metrics: &Metrics, rounds: u64) {
    for round in 0..rounds {
        for name in 0..50 {
            shard
                .edge(&key(
                    &format!("pod-{round}-{name}"),
                    "reviews",
                    Reporters::Source,
                ))
                .request(OK, 1, 0, 0);
        }
        let _ = metrics.scrape(round * 1_000);
    }
}

#[test]
fn workloads_that_come_and_go_leave_nothing_behind() {
    let metrics = Metrics::with(Settings {
        idle_millis: 1_500,
        ..Settings::default()
    });
    let shard = metrics.shard();
    churn(&shard, &metrics, 40);
    assert!(shard.len() <= 400, "{} edges are kept", shard.len());
}

#[test]
fn a_scrape_in_pieces_is_the_same_text() {
    let metrics = Metrics::new();
    let shard = metrics.shard();
    for name in 0..50 {
        let edge = shard.edge(&key("web", &format!("s{name}"), Reporters::Both));
        edge.request(OK, name, 1, 1);
        edge.tcp_opened();
    }
    let mut whole = Vec::new();
    metrics.render(1, &mut whole);
    let mut scrape = metrics.scrape(2);
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    while scrape.next_piece(&mut piece) {
        pieces.append(&mut piece);
    }
    assert_eq!(
        String::from_utf8(pieces).unwrap(),
        String::from_utf8(whole).unwrap()
    );
}

#[test]
fn unknown_peers_have_words_for_everything() {
    let metrics = Metrics::new();
    let key = EdgeKey {
        source: Arc::new(Peer::unknown()),
        destination: Arc::new(Peer::unknown()),
        service: Arc::new(ServiceLabels::unknown()),
        ..key("web", "reviews", Reporters::Source)
    };
    let edge = metrics.shard().edge(&key);
    edge.request(
        Outcome {
            code: 0,
            flags: "DC",
            grpc: Some(14),
        },
        1,
        0,
        0,
    );
    let families = scrape(&metrics, 1);
    assert_eq!(
        value(
            &families,
            REQUESTS,
            &[
                ("response_code", "0"),
                ("grpc_response_status", "14"),
                ("source_workload", "unknown")
            ]
        ),
        1.0
    );
}

proptest! {
    #[test]
    fn nothing_is_lost_or_counted_twice(records in proptest::collection::vec((0usize..2, 0u8..4, 0u16..4, 0u8..3, any::<u32>()), 0..200)) {
        let metrics = Metrics::with(Settings { max_series: 6, ..Settings::default() });
        let shards = [metrics.shard(), metrics.shard()];
        let (mut source, mut destination) = (0.0, 0.0);
        for (shard, name, code, reporters, micros) in &records {
            let reporters = [Reporters::Source, Reporters::Destination, Reporters::Both][usize::from(*reporters)];
            source += f64::from(u8::from(reporters.source()));
            destination += f64::from(u8::from(reporters.destination()));
            let edge = shards[*shard].edge(&key("web", &name.to_string(), reporters));
            edge.request(Outcome { code: 200 + code, flags: "-", grpc: None }, (*micros).into(), 0, 0);
        }
        let families = counters(&metrics, 1);
        for (reporter, wanted) in [("source", source), ("destination", destination)] {
            let sum: f64 = find(&families, REQUESTS, REQUESTS, &[("reporter", reporter)]).iter().map(|sample| sample.value).sum();
            prop_assert_eq!(sum, wanted);
        }
    }
}
