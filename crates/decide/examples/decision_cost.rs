//! What a decision costs: `cargo run --release -p weft-decide --example decision_cost`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement for a terminal: what fails, ends it"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use weft_decide::{
    Client, Destination, LocalState, Prepared, RequestView, pick, pick_backend, route, sniff,
};
use weft_model::endpoint::{Endpoint, Endpoints};
use weft_model::id::{ObjectName, ServiceId, WorkloadId};
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::policy::{ClientPolicy, ServicePolicy};
use weft_model::protocol::Protocol;
use weft_model::route::{Action, Backend, BackendTarget, HeaderOps, RouteId, Rule};
use weft_model::service::{Service, ServicePort};
use weft_model::table::Tables;
use weft_model::target::RequestTarget;

const ROUNDS: u32 = 5_000_000;
const SERVICES: u32 = 5_000;
const ENDPOINTS: u32 = 10;

fn rule(id: ServiceId, name: &ObjectName, matches: Vec<RequestMatch>) -> Rule {
    let target = BackendTarget {
        service: id,
        name: name.clone(),
        port: None,
        subset: None,
    };
    let backend = |weight| Backend {
        weight,
        target: Ok(target.clone()),
        request: HeaderOps::default(),
        response: HeaderOps::default(),
        mirrors: Vec::new(),
    };
    Rule {
        id: RouteId {
            kind: "VirtualService".to_owned(),
            object: name.clone(),
            rule: "0".to_owned(),
        },
        matches,
        unresolved: weft_model::reason::Reason::NoBackend,
        action: Action::Forward(vec![backend(80), backend(20)]),
        request: HeaderOps::default(),
        response: HeaderOps::default(),
        rewrite: None,
        timeout: None,
        retry: None,
        mirrors: Vec::new(),
        cors: None,
        fault: None,
    }
}

fn block(header: Option<StringMatch>, path: Option<StringMatch>) -> RequestMatch {
    let headers = header
        .map(|text| ("end-user".to_owned(), text))
        .into_iter()
        .collect();
    RequestMatch {
        headers,
        path,
        ..RequestMatch::default()
    }
}

fn tables() -> Tables {
    let mut tables = Tables::default();
    for n in 0..SERVICES {
        let (id, name) = (
            ServiceId(n),
            ObjectName::new("shop", format!("service-{n}")),
        );
        let vip = std::net::IpAddr::from((0x0a60_0000u32 + n).to_be_bytes());
        let port = ServicePort {
            port: 80,
            name: "http".to_owned(),
            protocol: Protocol::Http,
        };
        let host = format!("{}.shop.svc.cluster.local", name.name);
        let service = Service {
            id,
            name: name.clone(),
            host,
            vips: vec![vip],
            ports: vec![port],
        };
        let endpoints = (0..ENDPOINTS).map(|e| {
            let address =
                std::net::IpAddr::from((0x0af4_0000u32 + n * ENDPOINTS + e).to_be_bytes());
            Arc::make_mut(&mut tables.index.workloads)
                .insert(address, WorkloadId(n * ENDPOINTS + e));
            let address = std::net::SocketAddr::new(address, 8080);
            Endpoint {
                address,
                workload: None,
                node: "node-1".to_owned(),
                subsets: vec!["version=v1".to_owned()],
            }
        });
        let ports = BTreeMap::from([(80, endpoints.collect())]);
        let jason = block(Some(StringMatch::Exact("jason".to_owned())), None);
        let digits = block(
            None,
            Some(StringMatch::Regex("/[a-z]+/v[0-9]+.*".to_owned())),
        );
        let http = Some(vec![
            rule(id, &name, vec![jason]),
            rule(id, &name, vec![digits]),
            rule(id, &name, Vec::new()),
        ]);
        let default = ClientPolicy {
            http,
            ..ClientPolicy::default()
        };
        let policy = ServicePolicy {
            service: id,
            name: name.clone(),
            default,
            by_namespace: BTreeMap::new(),
        };
        Arc::make_mut(&mut tables.index.services).insert(vip, id);
        tables.services.insert(id, Arc::new(service));
        tables.endpoints.insert(
            id,
            Arc::new(Endpoints {
                service: id,
                name,
                ports,
            }),
        );
        tables.policies.insert(id, Arc::new(policy));
    }
    tables
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
    println!("{name:48} {nanos:12.1} ns");
}

fn main() {
    let mut tables = tables();
    let first = Prepared::build(None, &tables, 1);
    each("build from nothing, 5,000 services with a regex", 1, |_| {
        Prepared::build(None, &tables, 2)
    });
    each("build, nothing changed", 5, |_| {
        Prepared::build(Some(&first), &tables, 2)
    });
    let mut changed = (*tables.policies[&ServiceId(7)]).clone();
    changed.default.http = None;
    tables.policies.insert(ServiceId(7), Arc::new(changed));
    each("build, one route changed", 5, |_| {
        Prepared::build(Some(&first), &tables, 2)
    });

    let address = "10.96.10.7:80".parse().unwrap();
    let Destination::Service { service, port } = first.destination(address) else {
        return;
    };
    each("destination", ROUNDS, |_| {
        black_box(first.destination(black_box(address)))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "service-7"),
        ("user-agent", "curl"),
        ("accept", "*/*"),
        ("x-request-id", "1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let target =
        RequestTarget::parse(&Method::GET, b"/productpage?u=normal", Some(b"service-7")).unwrap();
    let labels = BTreeMap::new();
    let client = Client {
        namespace: "shop",
        labels: &labels,
    };
    let request = RequestView {
        method: &Method::GET,
        target: &target,
        headers: &headers,
        scheme: "http",
    };
    each("route past a header and a regex", ROUNDS, |_| {
        black_box(route(service, port, &client, black_box(&request)))
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                each("the same, on two threads at once", ROUNDS, |_| {
                    black_box(route(service, port, &client, black_box(&request)));
                });
            });
        }
    });
    let weft_decide::Choice::Rule { rule, .. } = route(service, port, &client, &request) else {
        return;
    };
    each("weighted backend", ROUNDS, |n| {
        black_box(pick_backend(rule, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    });
    let mut local = LocalState::default();
    let list = service.endpoints(port, Some("version=v1"));
    each("least request of ten", ROUNDS, |n| {
        (black_box(pick(
            list,
            Default::default(),
            &mut local,
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            &[],
        )));
    });
    each("sniff", ROUNDS, |_| {
        black_box(sniff(black_box(b"GET /productpage HTTP/1.1\r\n")))
    });
}
