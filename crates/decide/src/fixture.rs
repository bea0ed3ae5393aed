//! Table values that the tests of this crate build on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_model::endpoint::{Endpoint, Endpoints};
use weft_model::id::{ObjectName, ServiceId, WorkloadId};
use weft_model::policy::{ClientPolicy, ServicePolicy, TrafficPolicy};
use weft_model::protocol::Protocol;
use weft_model::retry::{RetryPolicy, lower};
use weft_model::route::{Action, Backend, BackendTarget, HeaderOps, RouteId, Rule};
use weft_model::service::{Service, ServicePort};
use weft_model::table::Tables;
use weft_model::workload::Workload;

use crate::policy::{PreparedBackend, PreparedRule};
use crate::prepared::Prepared;

pub(crate) fn workload(id: u32, namespace: &str, name: &str) -> Workload {
    Workload {
        id: WorkloadId(id),
        uid: format!("uid-{id}"),
        pod: ObjectName::new(namespace, name),
        node: "node-1".to_owned(),
        ips: Vec::new(),
        service_account: "default".to_owned(),
        workload: name.to_owned(),
        app: name.to_owned(),
        version: "v1".to_owned(),
        canonical_service: name.to_owned(),
        canonical_revision: "v1".to_owned(),
        cluster: "Kubernetes".to_owned(),
        labels: BTreeMap::new(),
        captured: true,
        ingress_policy: false,
        egress_policy: false,
        services: Vec::new(),
    }
}

pub(crate) fn target(name: &str) -> BackendTarget {
    BackendTarget {
        service: ServiceId(1),
        name: ObjectName::new("shop", name),
        port: None,
        subset: None,
    }
}

pub(crate) fn backend(name: &str) -> PreparedBackend {
    PreparedBackend {
        target: target(name),
        request: Default::default(),
        response: Default::default(),
        mirrors: Box::default(),
    }
}

pub(crate) fn rule(name: &str) -> Rule {
    Rule {
        id: RouteId {
            kind: "VirtualService".to_owned(),
            object: ObjectName::new("shop", "vs"),
            rule: name.to_owned(),
        },
        matches: Vec::new(),
        unresolved: weft_model::reason::Reason::NoBackend,
        action: Action::Forward(vec![Backend {
            weight: 1,
            target: Ok(target(name)),
            request: HeaderOps::default(),
            response: HeaderOps::default(),
            mirrors: Vec::new(),
        }]),
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

pub(crate) fn retry_policy(on: &str) -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        per_try_timeout: None,
        backoff: Duration::from_millis(25),
        least_pause: Duration::ZERO,
        on: lower(on).0,
    }
}

pub(crate) fn endpoint(address: &str, subsets: &[&str]) -> Endpoint {
    Endpoint {
        address: address.parse::<SocketAddr>().unwrap(),
        workload: None,
        node: "node-1".to_owned(),
        subsets: subsets.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// Tables of one service `shop/reviews` (id 1, 10.96.0.1, port 9080) with these rules and endpoints.
pub(crate) fn tables(rules: Option<Vec<Rule>>, endpoints: Vec<Endpoint>) -> Tables {
    let id = ServiceId(1);
    let name = ObjectName::new("shop", "reviews");
    let mut tables = Tables::default();
    Arc::make_mut(&mut tables.index.services).insert("10.96.0.1".parse().unwrap(), id);
    tables.services.insert(
        id,
        Arc::new(Service {
            id,
            name: name.clone(),
            host: "reviews.shop.svc.cluster.local".to_owned(),
            vips: vec!["10.96.0.1".parse().unwrap()],
            ports: vec![ServicePort {
                port: 9080,
                name: "http".to_owned(),
                protocol: Protocol::Http,
            }],
        }),
    );
    tables.endpoints.insert(
        id,
        Arc::new(Endpoints {
            service: id,
            name: name.clone(),
            ports: BTreeMap::from([(9080, endpoints)]),
        }),
    );
    let default = ClientPolicy {
        http: rules,
        traffic: TrafficPolicy::default(),
        subsets: BTreeMap::new(),
    };
    tables.policies.insert(
        id,
        Arc::new(ServicePolicy {
            service: id,
            name,
            default,
            by_namespace: BTreeMap::new(),
        }),
    );
    tables
}

/// One rule, prepared the way the proxy gets it; taken out of the tables it lived in.
pub(crate) fn prepared_rule(change: impl FnOnce(&mut Rule)) -> PreparedRule {
    let mut one = rule("0");
    change(&mut one);
    let policy = Arc::clone(
        tables(Some(vec![one]), Vec::new())
            .policies
            .get(&ServiceId(1))
            .unwrap(),
    );
    crate::policy::PreparedPolicy::new(&policy).into_first_rule()
}

/// The problems of one rule.
pub(crate) fn problems(change: impl FnOnce(&mut Rule)) -> Vec<String> {
    let mut one = rule("0");
    change(&mut one);
    let prepared = Prepared::build(None, &tables(Some(vec![one]), Vec::new()), 1);
    prepared
        .problems()
        .map(|problem| {
            format!(
                "{} {}: {}",
                problem.route.object, problem.field, problem.message
            )
        })
        .collect()
}
