//! How the operator scales: a mesh of 5,000 services and 50,000 endpoints on 100 nodes, all in this process and over
//! loopback. Prints the time of a full build and of one changed route until every node has acknowledged it.
//!
//! `cargo run --release -p weft-operator --example scale [SERVICES] [PODS-PER-SERVICE] [NODES]`

#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a program for a terminal, not for import"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weft_compile::Settings;
use weft_model::delta::diff;
use weft_model::id::ServiceId;
use weft_model::table::Interest;
use weft_operator::metrics::Metrics;
use weft_operator::pipeline::{Handle, Pipeline};
use weft_operator::published::{Published, Slice};
use weft_operator::push::server::{Door, Mesh};
use weft_operator::source::dir::Directories;
use weft_operator::source::files::Files;
use weft_operator::{push, source, status::Nodes};
use weft_service::ready::Readiness;
use weft_tables::{ClientConfig, NodeKind, start};

/// Services that each node's pods talk to.
const USED: usize = 50;
/// Documents per file.
const PER_FILE: usize = 500;
/// Changes that are timed.
const CHANGES: usize = 50;

struct Size {
    services: usize,
    pods: usize,
    nodes: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default));
    let size = Size {
        services: number(5_000)?,
        pods: number(10)?,
        nodes: number(100)?,
    };
    let dir = tempfile::tempdir()?;
    let bytes = write_mesh(dir.path(), &size)?;
    let pods = size.services * size.pods;
    println!(
        "{} services, {pods} endpoints, {} nodes, {} MiB of manifests",
        size.services,
        size.nodes,
        bytes >> 20
    );
    build_alone(dir.path())?;
    serve(dir.path(), &size).await
}

/// Reading and compiling without any node: first everything, then one changed route.
fn build_alone(dir: &Path) -> anyhow::Result<()> {
    let settings = Settings::default();
    let mut files = Files::new(&[dir.to_owned()])?;
    timed("read and parse all files", || files.scan(&BTreeSet::new()));
    let manifests = timed("gather a snapshot", || files.manifests());
    let first = timed("full build", || {
        weft_compile::compile(&manifests.snapshot, &settings)
    });
    let previous = Published::default();
    let published = timed("arrange for nodes", || previous.next(1, first, Vec::new()));
    let interest = Interest::default();
    let nothing = Slice::default();
    let (slice, delta) = timed("first slice of a node", || {
        published.slice("node-0", &interest, &nothing)
    });
    let json = timed("... as JSON", || serde_json::to_vec(&delta))?;
    println!("{:>40}: {} KiB", "... has", json.len() >> 10);
    println!("{:>40}: {} MiB", "peak memory", peak_mib()?);

    fs::write(dir.join("changed.yaml"), route(0, 55))?;
    println!("one changed route:");
    timed("read", || files.scan(&BTreeSet::new()));
    let manifests = timed("gather a snapshot", || files.manifests());
    let before = &published.compiled;
    let again = timed("build", || {
        weft_compile::compile_from(before, &manifests.snapshot, &settings)
    });
    timed("compare", || diff(&before.tables, &again.tables).len());
    let next = timed("arrange for nodes", || published.next(2, again, Vec::new()));
    timed("100 slices", || {
        (0..100)
            .map(|_| next.slice("node-0", &interest, &slice).1.len())
            .sum::<usize>()
    });
    let mut tables = slice.tables();
    timed("a node's copy of its tables", || tables = tables.clone());
    Ok(())
}

/// Does something and prints its time: on the clock, and of the processor, which is what counts on a busy machine.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (begun, used) = (Instant::now(), cpu());
    let done = work();
    println!(
        "{what:>40}: {:.1?}, processor {:.2} s",
        begun.elapsed(),
        cpu() - used
    );
    done
}

/// The operator's parts around real clients.
async fn serve(dir: &Path, size: &Size) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let metrics = Metrics::new(&prometheus::Registry::new())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let operator = format!("http://{}", listener.local_addr()?);
    let (sink, changes) = source::channel();
    let directories = Directories::open(&[dir.to_owned()])?;
    let begun = Instant::now();
    tokio::spawn(source::run(directories, sink, shutdown.clone()));
    let readiness = Readiness::default();
    let (pipeline, handle) = Pipeline::new(
        Settings::default(),
        metrics.clone(),
        readiness.part("manifests"),
    );
    tokio::spawn(
        shutdown
            .clone()
            .run_until_cancelled_owned(pipeline.run(changes)),
    );
    let nodes = Nodes::default();
    tokio::spawn(push::server::serve(
        listener,
        Mesh {
            pipeline: handle.clone(),
            nodes: nodes.clone(),
            metrics,
            seats: weft_operator::cluster::lease::alone(),
        },
        Door::Open,
        shutdown.clone(),
    ));
    handle
        .changes()
        .wait_for(|published| published.generation > 0)
        .await?;
    println!("start to first generation {:.2?}", begun.elapsed());

    let begun = Instant::now();
    let state = tempfile::tempdir()?;
    for number in 0..size.nodes {
        connect(&operator, number, size, state.path(), &handle, &shutdown)?;
    }
    all_acked(&nodes, &handle, size.nodes).await;
    println!(
        "{} nodes from nothing to acked {:.2?}",
        size.nodes,
        begun.elapsed()
    );
    println!("peak memory {} MiB (operator and all clients)", peak_mib()?);

    let mut times = Vec::new();
    let used = cpu();
    for round in 0..CHANGES {
        let before = handle.current().generation;
        let begun = Instant::now();
        fs::write(dir.join("changed.yaml"), route(0, round % 99 + 1))?;
        handle
            .changes()
            .wait_for(|published| published.generation > before)
            .await?;
        let published = begun.elapsed();
        all_acked(&nodes, &handle, size.nodes).await;
        times.push((begun.elapsed(), published));
    }
    times.sort();
    let at = |share: usize| {
        times
            .get((times.len() - 1) * share / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "one changed route, saved to acked by all: p50 {:.0?} (published after {:.0?}), p99 {:.0?}",
        at(50).0,
        at(50).1,
        at(99).0
    );
    println!(
        "processor per change {:.2} s, for operator and all nodes",
        (cpu() - used) / CHANGES as f64
    );
    shutdown.cancel();
    Ok(())
}

/// One node that uses some services and applies everything at once.
fn connect(
    operator: &str,
    number: usize,
    size: &Size,
    state: &Path,
    handle: &Handle,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let node = format!("node-{number}");
    let config = ClientConfig {
        token_file: None,
        operator: operator.to_owned(),
        node: node.clone(),
        kind: NodeKind::Proxy,
        state_dir: state.join(node),
        version: "0".to_owned(),
    };
    let client = start(config, shutdown.clone())?;
    let ids: Vec<ServiceId> = handle
        .current()
        .compiled
        .tables
        .services
        .keys()
        .copied()
        .collect();
    let step = (size.services / USED).max(1);
    for id in ids.iter().skip(number % step).step_by(step) {
        client.want_service(*id);
    }
    // The changed route concerns every node.
    let tables = &handle.current().compiled.tables;
    let first = tables
        .services
        .values()
        .find(|service| service.name.name == "s0");
    client.want_service(first.context("no service s0")?.id);
    let mut changed = client.changed();
    tokio::spawn(async move {
        while changed.changed().await.is_ok() {
            let generation = changed.borrow_and_update().generation;
            client.set_applied(generation);
        }
    });
    Ok(())
}

async fn all_acked(nodes: &Nodes, handle: &Handle, count: usize) {
    loop {
        let newest = handle.current().generation;
        let rows = nodes.list();
        if rows.len() == count && rows.iter().all(|row| row.acked == newest) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn write_mesh(dir: &Path, size: &Size) -> anyhow::Result<usize> {
    let mut documents = vec![
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"weft.mesh/mode":"enabled"}}}"#.to_owned(),
    ];
    for service in 0..size.services {
        documents.push(format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"s{service}","namespace":"shop"}},"spec":{{"clusterIP":"10.{}.{}.{}","selector":{{"app":"s{service}"}},"ports":[{{"name":"http","port":80,"targetPort":8080}}]}}}}"#,
            96 + (service >> 16), service >> 8 & 255, service & 255
        ));
        let mut endpoints = Vec::new();
        for pod in 0..size.pods {
            let number = service * size.pods + pod;
            let node = format!("node-{}", number % size.nodes);
            let ip = format!(
                "10.{}.{}.{}",
                128 + (number >> 16),
                number >> 8 & 255,
                number & 255
            );
            documents.push(format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"s{service}-{pod}","namespace":"shop","uid":"uid-{number}","labels":{{"app":"s{service}","version":"v{}"}}}},"spec":{{"nodeName":"{node}","containers":[{{"name":"c","ports":[{{"name":"http","containerPort":8080}}]}}]}},"status":{{"phase":"Running","podIP":"{ip}","podIPs":[{{"ip":"{ip}"}}]}}}}"#,
                pod % 2 + 1
            ));
            endpoints.push(format!(
                r#"{{"addresses":["{ip}"],"conditions":{{"ready":true}},"nodeName":"{node}","targetRef":{{"kind":"Pod","namespace":"shop","name":"s{service}-{pod}","uid":"uid-{number}"}}}}"#
            ));
        }
        documents.push(format!(
            r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"s{service}-a","namespace":"shop","labels":{{"kubernetes.io/service-name":"s{service}"}}}},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"http","port":8080}}]}}"#,
            endpoints.join(",")
        ));
        if service > 0 {
            documents.push(route(service, 90));
        }
    }
    let mut bytes = 0;
    for (number, part) in documents.chunks(PER_FILE).enumerate() {
        let mut text = String::new();
        for document in part {
            writeln!(text, "---\n{document}")?;
        }
        bytes += text.len();
        fs::write(dir.join(format!("mesh-{number}.yaml")), text)?;
    }
    fs::write(dir.join("changed.yaml"), route(0, 100))?;
    Ok(bytes)
}

/// A VirtualService with two rules.
fn route(service: usize, weight: usize) -> String {
    let other = service + 1;
    format!(
        r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{{"name":"s{service}","namespace":"shop"}},"spec":{{"hosts":["s{service}"],"http":[{{"match":[{{"uri":{{"prefix":"/new"}},"headers":{{"end-user":{{"exact":"jason"}}}}}}],"route":[{{"destination":{{"host":"s{service}"}}}}]}},{{"route":[{{"destination":{{"host":"s{service}"}},"weight":{weight}}},{{"destination":{{"host":"s{other}"}},"weight":{}}}]}}]}}}}"#,
        100 - weight
    )
}

/// Processor time that this process has used, seconds: what counts on a busy machine.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn peak_mib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmHWM")?;
    Ok(kib.parse::<u64>()? >> 10)
}
