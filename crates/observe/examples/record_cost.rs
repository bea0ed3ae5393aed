//! What a record and a scrape cost: `cargo run --release -p weft-observe --example record_cost`.
//!
//! The figures belong to the machine; the target is 60 ns a request on the bench machine.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement for a terminal: what fails, ends it"
)]

use std::hint::black_box;
use std::sync::Arc;

use weft_observe::{
    AccessRecord, EdgeKey, Metrics, Outcome, Peer, Protocol, Reporters, RequestIds, Security,
    ServiceLabels,
};

const ROUNDS: u32 = 5_000_000;

fn key(destination: u32) -> EdgeKey {
    let peer = |name: String| {
        Arc::new(Peer {
            workload: name.clone(),
            namespace: "shop".to_owned(),
            canonical_service: name.clone(),
            app: name,
            ..Peer::unknown()
        })
    };
    let name = weft_model::id::ObjectName::new("shop", format!("service-{destination}"));
    EdgeKey {
        source: peer("frontend".to_owned()),
        destination: peer(format!("service-{destination}")),
        service: Arc::new(ServiceLabels::of_member(&name)),
        protocol: Protocol::Http,
        security: Security::None,
        reporters: Reporters::Both,
    }
}

/// Nanoseconds that this thread has run: the wall clock of a busy machine says nothing.
fn cpu_nanos() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn each<T>(name: &str, rounds: u32, mut run: impl FnMut(u64) -> T) {
    let before = cpu_nanos();
    for round in 0..rounds {
        black_box(run(u64::from(round)));
    }
    let nanos = (cpu_nanos() - before) / f64::from(rounds);
    println!("{name:32} {nanos:12.1} ns");
}

fn main() {
    let metrics = Metrics::new();
    let shard = metrics.shard();
    let edge = shard.edge(&key(0));
    let (good, bad) = (
        Outcome {
            code: 200,
            flags: "-",
            grpc: None,
        },
        Outcome {
            code: 503,
            flags: "UF",
            grpc: None,
        },
    );
    each("request, one outcome", ROUNDS, |n| {
        edge.request(black_box(good), n % 90_000, n % 100, n % 5_000)
    });
    each("request, outcomes alternate", ROUNDS, |n| {
        edge.request(
            black_box(if n % 2 == 0 { good } else { bad }),
            n % 90_000,
            n % 100,
            n % 5_000,
        );
    });
    each("bytes of a connection", ROUNDS, |n| edge.tcp_bytes(n, 1));
    let name = key(0);
    each("find an edge", ROUNDS / 10, |_| {
        black_box(shard.edge(black_box(&name)))
    });
    let mut ids = RequestIds::new(7);
    each("request id", ROUNDS, |_| black_box(ids.next_id()));
    let record = AccessRecord {
        method: b"GET",
        path: b"/productpage",
        protocol: b"HTTP/1.1",
        upstream_host: Some("10.244.1.5:9080".parse().unwrap()),
        ..AccessRecord::default()
    };
    let mut line = Vec::new();
    each("access log line, text", ROUNDS / 10, |n| {
        line.clear();
        AccessRecord {
            start_millis: 1_795_266_062_345 + n,
            ..record
        }
        .text(&mut line);
    });
    each("access log line, json", ROUNDS / 10, |n| {
        line.clear();
        AccessRecord {
            start_millis: 1_795_266_062_345 + n,
            ..record
        }
        .json(&mut line);
    });
    for destination in 1..100 {
        shard.edge(&key(destination)).request(good, 1_000, 10, 10);
    }
    let mut out = Vec::new();
    each("scrape of 101 edge-outcomes", 20, |n| {
        out.clear();
        metrics.render(n, &mut out);
    });
    println!("{:32} {:10} bytes", "its size", out.len());
    if let Some(path) = std::env::args().nth(1) {
        // For `promtool check metrics < PATH`.
        std::fs::write(path, &out).unwrap();
    }
}
