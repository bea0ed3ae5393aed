//! Laws over random snapshots: order does not matter, nothing panics, deltas lead from one table to the next.

use proptest::prelude::*;
use weft_compile::{Compiled, Compiler, Settings, compile, compile_from};
use weft_k8s::{Located, Object, Snapshot, parse_file};
use weft_model::delta::diff;

/// Words that meet each other often, right ones and wrong ones.
fn word(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(words)
}

const NAMES: &[&str] = &["a", "b", "web", "reviews"];
const NAMESPACES: &[&str] = &["shop", "other", "kube-system", "weft-system"];
const HOSTS: &[&str] = &[
    "a",
    "web.shop",
    "reviews.shop.svc.cluster.local",
    "*",
    "*.shop.svc.cluster.local",
    "",
    "missing",
    "x..y",
    "*a*",
];

fn namespace() -> impl Strategy<Value = String> {
    (word(NAMESPACES), word(&["enabled", "disabled", "on", ""])).prop_map(|(name, mode)| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{weft.mesh/mode: \"{mode}\"}}}}\n")
    })
}

fn pod() -> impl Strategy<Value = String> {
    let place = (
        word(NAMES),
        word(NAMESPACES),
        word(&["n1", "n2", ""]),
        word(&["Running", "Failed", ""]),
    );
    let look = (
        word(&["10.0.0.1", "10.0.0.2", "fd00::1", "no"]),
        word(&["v1", "v2"]),
        any::<bool>(),
    );
    (place, look, "[0-9,a-z/.*-]{0,12}").prop_map(|((name, namespace, node, phase), (ip, version, host), list)| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}-{version}\n  namespace: {namespace}\n  labels: {{app: {name}, version: {version}}}\n  \
             annotations: {{weft.mesh/exclude-outbound-ports: \"{list}\", weft.mesh/exclude-outbound-cidrs: \"{list}\"}}\n\
             spec:\n  nodeName: \"{node}\"\n  hostNetwork: {host}\n  containers:\n  - name: c\n    readinessProbe: {{httpGet: {{port: http}}}}\n    \
             ports: [{{name: http, containerPort: 80}}]\nstatus: {{phase: \"{phase}\", podIP: \"{ip}\"}}\n"
        )
    })
}

fn service() -> impl Strategy<Value = String> {
    let look = (
        word(&["10.96.0.1", "None", "", "bad"]),
        word(&["http", "tcp-x", "", "mysql"]),
        0u32..65536,
    );
    (word(NAMES), word(NAMESPACES), look).prop_map(|(name, namespace, (ip, port_name, port))| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  clusterIP: \"{ip}\"\n  \
             selector: {{app: {name}}}\n  ports: [{{name: \"{port_name}\", port: {port}, targetPort: http}}, {{port: 9, protocol: UDP}}]\n"
        )
    })
}

fn slice() -> impl Strategy<Value = String> {
    let look = (
        word(&["10.0.0.1", "10.0.0.9", "fd00::1", "x"]),
        word(&["true", "false", "null"]),
        word(&["http", "tcp-x", ""]),
    );
    (word(NAMES), word(NAMESPACES), look).prop_map(|(name, namespace, (ip, ready, port))| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             endpoints: [{{addresses: [\"{ip}\"], conditions: {{ready: {ready}}}}}]\nports: [{{name: \"{port}\", port: 8080}}]\n"
        )
    })
}

fn virtual_service() -> impl Strategy<Value = String> {
    let condition = (
        word(&["exact", "prefix", "regex"]),
        word(&["/", "/a", "(", ".*", "", "*"]),
    );
    let route = (
        word(HOSTS),
        word(&["v1", "v2", ""]),
        -1i64..200,
        0u32..70000,
    );
    let head = (
        word(NAMES),
        word(NAMESPACES),
        word(HOSTS),
        word(&["*", ".", "other", "~", "A b"]),
    );
    (head, condition, route, word(&["5xx", "503,x", ""]), -1i64..200).prop_map(
        |((name, namespace, host, export), (kind, text), (target, subset, weight, port), on, attempts)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
                 hosts: [\"{host}\"]\n  exportTo: [\"{export}\"]\n  http:\n  - match: [{{uri: {{{kind}: \"{text}\"}}, headers: {{\"{text}\": {{}}}}}}, {{port: {port}}}]\n    \
                 retries: {{attempts: {attempts}, retryOn: \"{on}\"}}\n    headers: {{request: {{set: {{\"{text}\": \"%A%\"}}}}}}\n    route:\n    \
                 - {{destination: {{host: \"{target}\", subset: \"{subset}\", port: {{number: {port}}}}}, weight: {weight}}}\n    \
                 - {{destination: {{host: \"{host}\"}}}}\n  - redirect: {{uri: \"{text}\", redirectCode: {port}}}\n  - {{fault: {{}}}}\n"
            )
        },
    )
}

fn destination_rule() -> impl Strategy<Value = String> {
    let look = (
        word(&["RANDOM", "ROUND_ROBIN", "NO"]),
        word(&["v1", "v2"]),
        word(&["*", ".", "other"]),
    );
    (word(NAMES), word(NAMESPACES), word(HOSTS), look).prop_map(|(name, namespace, host, (balance, version, export))| {
        format!(
            "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
             host: \"{host}\"\n  exportTo: [\"{export}\"]\n  trafficPolicy: {{loadBalancer: {{simple: {balance}}}}}\n  \
             subsets: [{{name: {version}, labels: {{version: {version}}}}}, {{name: \"\"}}]\n"
        )
    })
}

fn objects() -> impl Strategy<Value = Vec<Located<Object>>> {
    let one = prop_oneof![
        namespace(),
        pod(),
        pod(),
        service(),
        slice(),
        virtual_service(),
        destination_rule()
    ];
    proptest::collection::vec(one, 0..24).prop_map(|documents| {
        let (objects, errors) = parse_file("random.yaml", &documents.join("---\n"));
        assert!(
            errors.is_empty(),
            "the generator must write what can be read: {errors:?}"
        );
        objects
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_objects_does_not_matter(objects in objects(), seed in any::<u64>()) {
        let settings = Settings::default();
        let expected = compile(&Snapshot::from_objects(objects.clone()), &settings);
        let mut shuffled: Vec<_> = objects.into_iter().enumerate().collect();
        shuffled.sort_by_key(|(index, _)| (*index as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let shuffled = Snapshot::from_objects(shuffled.into_iter().map(|(_, object)| object));
        prop_assert_eq!(compile(&shuffled, &settings), expected);
    }

    #[test]
    fn a_delta_leads_from_one_table_to_the_next(one in objects(), two in objects()) {
        let settings = Settings::default();
        let before = compile(&Snapshot::from_objects(one), &settings);
        let after = compile_from(&before, &Snapshot::from_objects(two), &settings);
        let mut tables = before.tables.clone();
        tables.apply(diff(&before.tables, &after.tables));
        prop_assert_eq!(&tables, &after.tables);
        tables.apply(diff(&after.tables, &before.tables));
        prop_assert_eq!(&tables, &before.tables);
    }

    #[test]
    fn what_a_compiler_remembers_changes_nothing(objects in objects(), order in proptest::collection::vec(any::<prop::sample::Index>(), 1..12)) {
        let (settings, mut compiler) = (Settings::default(), Compiler::default());
        let (mut snapshot, mut last) = (Snapshot::default(), Compiled::default());
        for index in order.iter().filter(|_| !objects.is_empty()) {
            // An object comes, and goes when it is drawn again.
            let object = index.get(&objects).clone();
            if snapshot.place(object.value.kind(), &object.value.metadata().key()).is_some() {
                snapshot.remove(object.value.kind(), &object.value.metadata().key());
            } else {
                snapshot.insert(object);
            }
            last = compiler.compile(&last, &snapshot, &settings);
            prop_assert_eq!(&last, &compile(&snapshot, &settings));
        }
    }

    #[test]
    fn every_id_in_a_table_is_resolved(objects in objects()) {
        let tables = compile(&Snapshot::from_objects(objects), &Settings::default()).tables;
        for endpoints in tables.endpoints.values() {
            prop_assert!(tables.services.contains_key(&endpoints.service));
            for endpoint in endpoints.ports.values().flatten() {
                prop_assert!(endpoint.workload.is_none_or(|id| tables.workloads.contains_key(&id)));
            }
        }
        for policy in tables.policies.values() {
            let clients = std::iter::once(&policy.default).chain(policy.by_namespace.values());
            for rule in clients.flat_map(|client| client.http.iter().flatten()) {
                if let weft_model::route::Action::Forward(backends) = &rule.action {
                    for target in backends.iter().filter_map(|backend| backend.target.as_ref().ok()) {
                        prop_assert!(tables.services.contains_key(&target.service));
                    }
                }
            }
        }
        prop_assert!(tables.index.services.values().all(|id| tables.services.contains_key(id)));
        prop_assert!(tables.index.workloads.values().all(|id| tables.workloads.contains_key(id)));
    }
}

#[test]
fn what_did_not_change_is_shared() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: http}]}\n";
    let snapshot = Snapshot::from_objects(parse_file("f.yaml", text).0);
    let first = compile(&snapshot, &Settings::default());
    let second = compile_from(&first, &snapshot, &Settings::default());
    let (one, two) = (
        first.tables.services.values().next().unwrap(),
        second.tables.services.values().next().unwrap(),
    );
    assert!(std::sync::Arc::ptr_eq(one, two));
    let mut compiler = Compiler::default();
    let third = compiler.compile(&first, &snapshot, &Settings::default());
    let fourth = compiler.compile(&third, &snapshot, &Settings::default());
    for compiled in [third, fourth] {
        assert!(std::sync::Arc::ptr_eq(
            one,
            compiled.tables.services.values().next().unwrap()
        ));
    }
}
