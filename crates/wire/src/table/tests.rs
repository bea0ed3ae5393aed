use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use weft_model::capture::{CaptureSpec, PortRange};
use weft_model::delta::{Change, Delta, diff};
use weft_model::endpoint::{Endpoint, Endpoints};
use weft_model::id::{ObjectName, ServiceId, WorkloadId};
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::pod::{AccessLog, LocalPod, Mode};
use weft_model::policy::{ClientPolicy, ServicePolicy, TrafficPolicy};
use weft_model::protocol::Protocol;
use weft_model::reason::Reason;
use weft_model::retry::{RetryOn, RetryPolicy};
use weft_model::route::{
    Action, Backend, BackendTarget, Cors, CorsList, Direct, Fault, HeaderOps, Mirror, PathRewrite,
    Redirect, RedirectPort, Rewrite, RouteId, Rule, Share, SubsetRef,
};
use weft_model::service::{Service, ServicePort};
use weft_model::table::Tables;
use weft_model::workload::{Membership, Workload};

use super::digest::Checksum;
use super::parts::{Assembler, DecodeError, PART, split};
use super::*;

fn name(text: &str) -> ObjectName {
    ObjectName::new("shop", text)
}

fn service(id: u32, port: u16) -> Service {
    Service {
        id: ServiceId(id),
        name: name("cart"),
        host: "cart.shop.svc.cluster.local".into(),
        vips: vec!["10.96.0.7".parse().unwrap()],
        ports: vec![ServicePort {
            port,
            name: "http".into(),
            protocol: Protocol::Http,
        }],
    }
}

fn workload(id: u32, node: &str) -> Workload {
    Workload {
        id: WorkloadId(id),
        uid: format!("uid-{id}"),
        pod: name("cart-0"),
        node: node.into(),
        ips: vec!["10.244.1.2".parse().unwrap()],
        service_account: "default".into(),
        workload: "cart".into(),
        app: "cart".into(),
        version: "v1".into(),
        canonical_service: "cart".into(),
        canonical_revision: "v1".into(),
        cluster: "Kubernetes".into(),
        labels: BTreeMap::from([("app".into(), "cart".into())]),
        captured: true,
        ingress_policy: false,
        egress_policy: true,
        services: vec![Membership {
            service: name("cart"),
            port: 80,
            target_port: 8080,
            protocol: Protocol::Http,
        }],
    }
}

fn endpoints(id: u32, last: u8) -> Endpoints {
    let endpoint = Endpoint {
        address: (Ipv4Addr::new(10, 244, 1, last), 8080).into(),
        workload: Some(WorkloadId(7)),
        node: "n1".into(),
        subsets: vec!["version=v1".into()],
    };
    let ports = BTreeMap::from([(80, vec![endpoint])]);
    Endpoints {
        service: ServiceId(id),
        name: name("cart"),
        ports,
    }
}

/// Every serialised type of the model at least once.
fn sample() -> Tables {
    let target = BackendTarget {
        service: ServiceId(1),
        name: name("cart"),
        port: Some(80),
        subset: Some(SubsetRef {
            name: "v1".into(),
            selector: "version=v1".into(),
        }),
    };
    let headers = HeaderOps {
        remove: vec!["a".into()],
        set: vec![("b".into(), "c".into())],
        add: vec![("d".into(), "e".into())],
    };
    let mirror = Mirror {
        target: target.clone(),
        share: Share {
            numerator: 1,
            denominator: 3,
        },
        shadow: true,
    };
    let cors = Cors {
        origins: vec![StringMatch::Exact("https://a.example".into())],
        methods: CorsList::All,
        headers: CorsList::Names(vec!["x-a".into()]),
        expose: CorsList::default(),
        max_age: Some(5),
        credentials: true,
        forward_unmatched: true,
    };
    let fault = Fault {
        delay: Some((Share::WHOLE, Duration::from_secs(2))),
        abort: Some((Share::WHOLE, 503)),
    };
    let backend = |target| Backend {
        weight: 50,
        target,
        request: headers.clone(),
        response: HeaderOps::default(),
        mirrors: vec![mirror.clone()],
    };
    let conditions = RequestMatch {
        name: "jason".into(),
        path: Some(StringMatch::PathPrefix("/a".into())),
        method: Some(StringMatch::Exact("GET".into())),
        headers: BTreeMap::from([("end-user".into(), StringMatch::Regex("j.*".into()))]),
        without_headers: BTreeMap::from([("x".into(), StringMatch::Present)]),
        query: BTreeMap::from([("q".into(), StringMatch::Prefix("1".into()))]),
        ..RequestMatch::default()
    };
    let rewrite = Rewrite {
        path: Some(PathRewrite::Regex {
            pattern: "a".into(),
            substitution: "b".into(),
        }),
        authority: Some("h".into()),
    };
    let retry = RetryPolicy {
        attempts: 3,
        per_try_timeout: Some(Duration::from_secs(1)),
        backoff: Duration::from_millis(25),
        least_pause: Duration::from_millis(100),
        on: RetryOn {
            statuses: vec![(500, 599)],
            grpc: vec![14],
            reasons: vec![Reason::UpstreamConnect],
        },
    };
    let rule = |rule: &str, action| Rule {
        id: RouteId {
            kind: "VirtualService".into(),
            object: name("cart"),
            rule: rule.into(),
        },
        matches: vec![conditions.clone()],
        unresolved: Reason::NoBackend,
        action,
        request: headers.clone(),
        response: HeaderOps::default(),
        rewrite: Some(rewrite.clone()),
        timeout: Some(Duration::from_millis(1500)),
        retry: Some(retry.clone()),
        mirrors: vec![mirror.clone()],
        cors: Some(cors.clone()),
        fault: Some(fault),
    };
    let redirect = Redirect {
        scheme: Some("https".into()),
        authority: None,
        port: Some(RedirectPort::Number(8443)),
        path: Some(PathRewrite::Full("/".into())),
        status: 302,
    };
    let client = ClientPolicy {
        http: Some(vec![
            rule(
                "0",
                Action::Forward(vec![backend(Ok(target)), backend(Err("gone".into()))]),
            ),
            rule("1", Action::Redirect(redirect)),
            rule(
                "2",
                Action::Direct(Direct {
                    status: 418,
                    body: b"tea".to_vec(),
                }),
            ),
        ]),
        traffic: TrafficPolicy::default(),
        subsets: BTreeMap::from([("v1".into(), TrafficPolicy::default())]),
    };
    let policy = ServicePolicy {
        service: ServiceId(1),
        name: name("cart"),
        default: client.clone(),
        by_namespace: BTreeMap::from([("shop".into(), client)]),
    };
    let capture = CaptureSpec {
        exclude_outbound_ports: vec![PortRange { first: 1, last: 2 }],
        exclude_outbound_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
        probe_ports: vec![8081],
        node_ips: vec!["10.255.0.11".parse().unwrap()],
        ..CaptureSpec::default()
    };
    let pod = |mode| LocalPod {
        api_uid: None,
        workload: workload(7, "n1"),
        mode,
        capture: capture.clone(),
        access_log: AccessLog::Errors,
    };
    let mut tables = Tables::default();
    Arc::make_mut(&mut tables.index.services).insert("10.96.0.7".parse().unwrap(), ServiceId(1));
    Arc::make_mut(&mut tables.index.workloads)
        .insert("fd00:244:1::2".parse().unwrap(), WorkloadId(7));
    tables
        .pods
        .insert("uid-7".into(), Arc::new(pod(Mode::Enabled)));
    tables.pods.insert(
        "uid-8".into(),
        Arc::new(pod(Mode::Disabled("hostNetwork".into()))),
    );
    tables
        .services
        .insert(ServiceId(1), Arc::new(service(1, 80)));
    tables
        .endpoints
        .insert(ServiceId(1), Arc::new(endpoints(1, 2)));
    tables.policies.insert(ServiceId(1), Arc::new(policy));
    tables
        .workloads
        .insert(WorkloadId(7), Arc::new(workload(7, "n1")));
    tables
}

/// What travels and lies on disks may only change together with `SCHEMA`.
#[test]
fn the_json_of_the_tables_belongs_to_the_schema() {
    let delta = diff(&Tables::default(), &sample());
    let text = serde_json::to_string_pretty(&delta).unwrap();
    let made = format!("schema {SCHEMA}\n{text}\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/schema.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == made,
        "the JSON has changed: raise SCHEMA, then UPDATE_GOLDEN=1:\n{made}"
    );
    let back: Delta = serde_json::from_str(&text).unwrap();
    assert_eq!(back, delta);
}

#[test]
fn the_checksum_is_fixed_for_ever() {
    assert_eq!(
        format!("{:032x}", Checksum::of(b"")),
        "585f090ec97bbfa86096912a744f9fc2"
    );
    assert_eq!(
        format!("{:032x}", Checksum::of(b"weft tables")),
        "4eda122fa29c1036d2997e2cb684a3da"
    );
}

fn tables() -> impl Strategy<Value = Tables> {
    let addresses = proptest::collection::btree_map(0u8..12, 0u32..4, 0..8);
    let services = proptest::collection::btree_map(0u32..6, 1u16..4, 0..5);
    let workloads = proptest::collection::btree_map(0u32..6, "n[12]", 0..5);
    (
        addresses.clone(),
        addresses,
        services.clone(),
        services,
        workloads,
    )
        .prop_map(|(vips, ips, services, ends, workloads)| {
            let address = |last: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
            let mut tables = Tables::default();
            Arc::make_mut(&mut tables.index.services).extend(
                vips.into_iter()
                    .map(|(ip, id)| (address(ip), ServiceId(id))),
            );
            Arc::make_mut(&mut tables.index.workloads).extend(
                ips.into_iter()
                    .map(|(ip, id)| (address(ip), WorkloadId(id))),
            );
            let fronts = services
                .into_iter()
                .map(|(id, port)| (ServiceId(id), Arc::new(service(id, port))));
            tables.services.extend(fronts);
            let backs = ends
                .into_iter()
                .map(|(id, n)| (ServiceId(id), Arc::new(endpoints(id, n as u8))));
            tables.endpoints.extend(backs);
            for (id, node) in workloads {
                let workload = workload(id, &node);
                let pod = LocalPod {
                    api_uid: None,
                    workload: workload.clone(),
                    mode: Mode::Enabled,
                    capture: CaptureSpec::default(),
                    access_log: AccessLog::Off,
                };
                tables.pods.insert(workload.uid.clone(), Arc::new(pod));
                tables.workloads.insert(WorkloadId(id), Arc::new(workload));
            }
            tables
        })
}

proptest! {
    #[test]
    fn the_digest_follows_any_delta(a in tables(), b in tables()) {
        let mut digest = Digest::of(&a);
        let mut followed = a.clone();
        digest.apply(&mut followed, diff(&a, &b));
        prop_assert_eq!(&followed, &b);
        prop_assert_eq!(digest, Digest::of(&b));
        prop_assert_eq!(digest == Digest::of(&a), a == b);
    }

    #[test]
    fn the_checksum_does_not_depend_on_how_bytes_arrive(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        cuts in proptest::collection::vec(0usize..100, 0..5),
    ) {
        let mut sum = Checksum::new();
        let mut start = 0;
        let mut cuts = cuts;
        cuts.sort_unstable();
        for cut in cuts {
            let cut = cut.min(bytes.len());
            sum.update(&bytes[start..cut]);
            start = cut;
        }
        sum.update(&bytes[start..]);
        prop_assert_eq!(sum.finish(), Checksum::of(&bytes));
    }
}

#[test]
fn applying_with_the_digest_is_applying() {
    // The same address twice in one change, and removal of what is not there.
    let ip: IpAddr = "10.0.0.1".parse().unwrap();
    let delta = vec![
        Change::ServiceAddresses(vec![(ip, Some(ServiceId(1))), (ip, Some(ServiceId(2)))]),
        Change::Service(ServiceId(9), None),
    ];
    let mut plain = Tables::default();
    plain.apply(delta.clone());
    let mut followed = Tables::default();
    let mut digest = Digest::default();
    digest.apply(&mut followed, delta);
    assert_eq!(plain, followed);
    assert_eq!(digest, Digest::of(&plain));
}

fn big() -> Delta {
    vec![Change::Service(
        ServiceId(1),
        Some(Arc::new(Service {
            host: "x".repeat(2 * PART + 5),
            ..service(1, 80)
        })),
    )]
}

#[test]
fn a_delta_survives_cutting_and_joining() {
    for delta in [Delta::new(), big()] {
        let parts = split(7, Some(6), Some(Digest(9)), &delta).unwrap();
        assert!(parts.iter().all(|part| part.payload.len() <= PART));
        let mut assembler = Assembler::default();
        let mut whole = None;
        for part in parts {
            assert!(
                whole.is_none(),
                "the delta was complete before its last part"
            );
            whole = assembler.push(part).unwrap();
        }
        let whole = whole.unwrap();
        assert_eq!(whole.header.base, Some(6));
        assert_eq!(whole.changes().unwrap(), delta);
    }
}

#[test]
fn parts_that_do_not_follow_are_refused() {
    let parts = split(7, None, None, &big()).unwrap();
    assert_eq!(parts.len(), 3);
    let mut skipped = Assembler::default();
    skipped.push(parts[0].clone()).unwrap();
    let error = skipped.push(parts[2].clone()).unwrap_err();
    assert!(matches!(
        error,
        DecodeError::OutOfOrder {
            generation: 7,
            found: 2,
            expected: 1
        }
    ));

    let mut mixed = Assembler::default();
    mixed.push(parts[0].clone()).unwrap();
    let mut other = parts[1].clone();
    other.header.generation = 8;
    mixed.push(other).unwrap_err();

    let mut empty = parts[0].clone();
    empty.header.parts = 0;
    assert!(matches!(
        Assembler::default().push(empty),
        Err(DecodeError::Parts(0))
    ));
    let mut late = Assembler::default();
    late.push(parts[1].clone()).unwrap_err();
}

#[test]
fn a_refusal_says_where_the_leader_is() {
    for address in ["10.244.1.5:15012", "[fd00::5]:15012"] {
        let leader = address.parse().unwrap();
        assert_eq!(rpc::leader(&rpc::not_leader(Some(leader))), Some(leader));
    }
    assert_eq!(rpc::leader(&rpc::not_leader(None)), None);
}

#[test]
fn troubles_survive_the_wire_and_have_an_end() {
    let trouble = |uid: usize| PodTrouble {
        uid: uid.to_string(),
        reason: "rules".into(),
        message: "é".repeat(MAX_TEXT),
    };
    let pods: Vec<PodTrouble> = (0..=MAX_TROUBLES).map(trouble).collect();
    let wire = rpc::proto::NodeMessage::from(NodeMessage::Troubles(pods));
    assert!(prost::Message::encoded_len(&wire) < MAX_MESSAGE);
    let NodeMessage::Troubles(read) = NodeMessage::try_from(wire.clone()).unwrap() else {
        panic!("another message");
    };
    assert_eq!(read.len(), MAX_TROUBLES);
    let mut long = wire;
    if let Some(rpc::proto::node_message::Kind::Troubles(troubles)) = &mut long.kind {
        troubles.pods.push(trouble(1).into());
    }
    assert!(NodeMessage::try_from(long).is_err());
}
