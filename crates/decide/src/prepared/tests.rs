//! What a generation answers, and what it takes over from the one before.

use super::*;
use crate::fixture::{endpoint, rule, tables, workload};
use std::collections::BTreeMap;
use weft_model::capture::CaptureSpec;
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::pod::{AccessLog, Mode};
use weft_model::policy::{Balance, ClientPolicy, ServicePolicy, TrafficPolicy};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn meshed() -> Tables {
    let mut tables = tables(
        Some(vec![rule("one")]),
        vec![
            endpoint("10.244.1.5:9080", &["version=v1"]),
            endpoint("10.244.2.6:9080", &["version=v2"]),
        ],
    );
    Arc::make_mut(&mut tables.index.services).insert("10.96.0.9".parse().unwrap(), ServiceId(9));
    Arc::make_mut(&mut tables.index.workloads).insert("10.244.1.5".parse().unwrap(), WorkloadId(5));
    Arc::make_mut(&mut tables.index.workloads)
        .insert("fd00:244:1::5".parse().unwrap(), WorkloadId(5));
    tables
}

#[test]
fn an_address_is_a_service_a_workload_missing_or_outside() {
    let prepared = Prepared::build(None, &meshed(), 3);
    assert_eq!(prepared.generation(), 3);
    for text in ["10.96.0.1:9080", "[::ffff:10.96.0.1]:9080"] {
        let Destination::Service { service, port } = prepared.destination(address(text)) else {
            panic!("{text} is a service")
        };
        assert_eq!(
            (service.service.name.name.as_str(), port),
            ("reviews", 9080)
        );
    }
    assert!(matches!(
        prepared.destination(address("10.96.0.9:80")),
        Destination::Missing(ServiceId(9))
    ));
    for text in ["10.244.1.5:1", "[::ffff:10.244.1.5]:1", "[fd00:244:1::5]:1"] {
        assert!(
            matches!(
                prepared.destination(address(text)),
                Destination::Workload { id: WorkloadId(5) }
            ),
            "{text}"
        );
    }
    assert!(matches!(
        prepared.destination(address("93.184.216.34:443")),
        Destination::Outside
    ));
    let Destination::Service { service, port } = prepared.destination(address("10.96.0.1:1"))
    else {
        panic!("the address is known")
    };
    assert!(service.port(port).is_none() && service.endpoints(port, None).is_empty());
}

#[test]
fn local_pods_are_workloads_too() {
    let mut tables = meshed();
    let pod = LocalPod {
        api_uid: None,
        workload: workload(7, "shop", "web"),
        mode: Mode::Enabled,
        capture: CaptureSpec::default(),
        access_log: AccessLog::Off,
    };
    tables.pods.insert("uid-7".to_owned(), Arc::new(pod));
    let first = Prepared::build(None, &tables, 1);
    assert!(first.pod("uid-7").is_some() && first.pod("uid-8").is_none());
    let kept = first.workload(WorkloadId(7)).unwrap();
    let second = Prepared::build(Some(&first), &tables, 2);
    assert!(Arc::ptr_eq(kept, second.workload(WorkloadId(7)).unwrap()));
}

#[test]
fn subsets_are_views_of_the_same_endpoints() {
    let prepared = Prepared::build(None, &meshed(), 1);
    let service = prepared.service(ServiceId(1)).unwrap();
    let addresses = |selector| {
        service
            .endpoints(9080, selector)
            .iter()
            .map(|endpoint| endpoint.address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses(None), ["10.244.1.5:9080", "10.244.2.6:9080"]);
    assert_eq!(addresses(Some("version=v2")), ["10.244.2.6:9080"]);
    assert!(addresses(Some("version=v3")).is_empty());
    let key = |selector| service.endpoints(9080, selector).key();
    assert!(
        key(None) != key(Some("version=v1")) && key(Some("version=v1")) != key(Some("version=v2"))
    );
}

#[test]
fn what_did_not_change_is_taken_over() {
    let before = meshed();
    let first = Prepared::build(None, &before, 1);
    let same = Prepared::build(Some(&first), &before, 2);
    let service = |prepared: &Prepared| Arc::clone(prepared.service(ServiceId(1)).unwrap());
    assert!(Arc::ptr_eq(&service(&first), &service(&same)));
    assert!(Arc::ptr_eq(&first.pod_addresses, &same.pod_addresses));

    let mut moved = before.clone();
    moved.endpoints = tables(
        None,
        vec![
            endpoint("10.244.1.5:9080", &[]),
            endpoint("10.244.3.7:9080", &[]),
        ],
    )
    .endpoints;
    let third = Prepared::build(Some(&same), &moved, 3);
    assert!(
        Arc::ptr_eq(&service(&first).policy, &service(&third).policy),
        "a pod's move prepares no route"
    );
    let kept = |prepared: &Prepared| {
        Arc::clone(
            &service(prepared)
                .endpoints(9080, None)
                .get(0)
                .unwrap()
                .state,
        )
    };
    assert!(
        Arc::ptr_eq(&kept(&first), &kept(&third)),
        "load is known beyond the generation"
    );

    let mut routed = before.clone();
    routed.policies = tables(Some(vec![rule("two")]), Vec::new()).policies;
    let fourth = Prepared::build(Some(&first), &routed, 4);
    assert!(
        Arc::ptr_eq(&service(&first).ports, &service(&fourth).ports),
        "a route's change moves no endpoint"
    );
    assert_eq!(
        service(&fourth).client("any").rules.as_ref().unwrap()[0]
            .id
            .rule,
        "two"
    );
}

#[test]
fn state_of_addresses_that_left_is_given_back() {
    let mut previous: Option<Prepared> = None;
    for round in 0..20u32 {
        let list = (0..100u32)
            .map(|n| endpoint(&format!("10.{round}.0.{n}:80"), &[]))
            .collect();
        previous = Some(Prepared::build(
            previous.as_ref(),
            &tables(None, list),
            u64::from(round),
        ));
    }
    let last = previous.unwrap();
    assert!(
        last.states.lock().unwrap().len() <= 300,
        "only some generations of addresses are kept"
    );
}

#[test]
fn each_namespace_has_its_own_policy() {
    let mut tables = meshed();
    let id = ServiceId(1);
    let old = Arc::clone(&tables.policies[&id]);
    let special = ClientPolicy {
        http: None,
        traffic: TrafficPolicy {
            balance: Balance::Random,
            ..Default::default()
        },
        subsets: BTreeMap::from([(
            "v1".to_owned(),
            TrafficPolicy {
                balance: Balance::RoundRobin,
                ..Default::default()
            },
        )]),
    };
    let policy = ServicePolicy {
        by_namespace: BTreeMap::from([("dev".to_owned(), special)]),
        ..(*old).clone()
    };
    tables.policies.insert(id, Arc::new(policy));
    let prepared = Prepared::build(None, &tables, 1);
    let service = prepared.service(id).unwrap();
    assert!(service.client("dev").rules.is_none() && service.client("shop").rules.is_some());
    assert_eq!(service.client("dev").traffic(None).balance, Balance::Random);
    assert_eq!(
        service.client("dev").traffic(Some("v1")).balance,
        Balance::RoundRobin
    );
    assert_eq!(
        service.client("dev").traffic(Some("v9")).balance,
        Balance::Random
    );
    tables.policies.clear();
    let prepared = Prepared::build(Some(&prepared), &tables, 2);
    assert!(
        prepared.service(id).unwrap().client("dev").rules.is_none(),
        "no policy, no routes"
    );
}

#[test]
fn problems_stay_known_while_the_policy_stays() {
    let block = RequestMatch {
        path: Some(StringMatch::Regex("(".to_owned())),
        ..Default::default()
    };
    let broken = tables(
        Some(vec![weft_model::route::Rule {
            matches: vec![block],
            ..rule("bad")
        }]),
        Vec::new(),
    );
    let first = Prepared::build(None, &broken, 1);
    let second = Prepared::build(Some(&first), &broken, 2);
    assert_eq!(first.problems().count(), 1);
    assert_eq!(second.problems().count(), 1);
}
