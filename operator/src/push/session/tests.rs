use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use weft_compile::Compiled;
use weft_model::capture::CaptureSpec;
use weft_model::id::{ObjectName, ServiceId, WorkloadId};
use weft_model::pod::{AccessLog, LocalPod, Mode};
use weft_model::service::Service;
use weft_model::table::Tables;
use weft_model::workload::Workload;
use weft_wire::table::parts::Assembler;
use weft_wire::table::{Digest, NodeKind};

use super::*;

const NODE: &str = "n1";

fn service(id: u32, version: u32) -> Service {
    Service {
        id: ServiceId(id),
        name: ObjectName::new("shop", format!("s{id}")),
        host: format!("v{version}"),
        vips: vec![([10, 96, 0, id as u8]).into()],
        ports: Vec::new(),
    }
}

fn pod(id: u32, node: &str) -> LocalPod {
    let workload = Workload {
        id: WorkloadId(id),
        uid: format!("uid-{id}"),
        pod: ObjectName::new("shop", format!("p{id}")),
        node: node.into(),
        ips: Vec::new(),
        service_account: "default".into(),
        workload: "w".into(),
        app: "a".into(),
        version: "v".into(),
        canonical_service: "c".into(),
        canonical_revision: "r".into(),
        cluster: "Kubernetes".into(),
        labels: Default::default(),
        captured: true,
        ingress_policy: false,
        egress_policy: false,
        services: Vec::new(),
    };
    LocalPod {
        api_uid: None,
        workload,
        mode: Mode::Enabled,
        capture: CaptureSpec::default(),
        access_log: AccessLog::Off,
    }
}

/// A mesh of services (id, version) and pods (id, on our node).
fn mesh(services: &[(u32, u32)], pods: &[(u32, bool)]) -> Tables {
    let mut tables = Tables::default();
    for (id, version) in services {
        let service = service(*id, *version);
        Arc::make_mut(&mut tables.index.services).insert(service.vips[0], service.id);
        tables.services.insert(service.id, Arc::new(service));
    }
    for (id, ours) in pods {
        let pod = pod(*id, if *ours { NODE } else { "n2" });
        Arc::make_mut(&mut tables.index.workloads).insert([10, 244, 0, *id as u8].into(), pod.id());
        tables
            .workloads
            .insert(pod.id(), Arc::new(pod.workload.clone()));
        tables.pods.insert(pod.workload.uid.clone(), Arc::new(pod));
    }
    tables
}

fn publish(previous: &Published, generation: u64, tables: Tables) -> Published {
    previous.next(
        generation,
        Compiled {
            tables,
            diagnostics: Vec::new(),
        },
        Vec::new(),
    )
}

/// A count that has come so far.
fn counted(last: u64) -> Generations {
    let generations = Generations::default();
    generations.count_above(last);
    generations
}

fn services(ids: impl IntoIterator<Item = u32>) -> Interest {
    Interest {
        services: ids.into_iter().map(ServiceId).collect(),
        workloads: BTreeSet::new(),
    }
}

/// The node's end, written down as simply as possible.
#[derive(Clone, Default)]
struct Node {
    /// Number of the tables in use, and the highest that came.
    generation: u64,
    seen: u64,
    tables: Tables,
    digest: Digest,
    interest: Interest,
}

impl Node {
    fn hello(&self) -> Hello {
        let resume = (self.generation > 0).then_some(Resume {
            generation: self.generation,
            digest: Some(self.digest),
        });
        Hello {
            node: NODE.into(),
            kind: NodeKind::Proxy,
            version: "0".into(),
            schema: SCHEMA,
            resume,
            interest: self.interest.clone(),
            seen: self.seen,
        }
    }

    /// Applies what was sent and checks every promise of the stream; the bytes of the payload.
    fn take(&mut self, parts: Vec<DeltaPart>) -> usize {
        let mut assembler = Assembler::default();
        let whole = parts
            .into_iter()
            .filter_map(|part| assembler.push(part).unwrap())
            .last();
        let whole = whole.expect("a delta without its last part");
        assert!(
            whole.header.generation > self.seen,
            "a number was given twice"
        );
        self.seen = whole.header.generation;
        match whole.header.base {
            Some(base) => assert_eq!(base, self.generation),
            None => (self.tables, self.digest) = Default::default(),
        }
        self.digest
            .apply(&mut self.tables, whole.changes().unwrap());
        assert_eq!(whole.header.digest, Some(self.digest));
        self.generation = whole.header.generation;
        whole.json.len()
    }
}

fn sent(step: Step) -> Vec<DeltaPart> {
    match step {
        Step::Send(parts) => parts,
        other => panic!("expected a delta: {other:?}"),
    }
}

/// A node that holds generation 1 of two services and two pods, and its session.
fn connected() -> (Node, Session, Published, Generations) {
    let published = publish(
        &Published::default(),
        1,
        mesh(&[(1, 1), (2, 1)], &[(1, true), (2, false)]),
    );
    let generations = counted(1);
    let mut node = Node {
        interest: services([1]),
        ..Node::default()
    };
    let mut session = Session::new(node.hello(), Vec::new());
    node.take(sent(session.step(&published, &generations)));
    assert!(session.ack(1).is_some());
    (node, session, published, generations)
}

#[test]
fn nothing_is_sent_before_the_first_generation() {
    let mut session = Session::new(Node::default().hello(), Vec::new());
    assert_eq!(session.step(&Published::default(), &counted(0)), Step::Wait);
}

#[test]
fn a_node_gets_index_own_pods_and_what_it_asked_for() {
    let (node, mut session, published, generations) = connected();
    assert_eq!(
        node.tables,
        published.compiled.tables.slice(NODE, &node.interest)
    );
    assert_eq!(node.tables.pods.len(), 1);
    assert_eq!(node.tables.services.len(), 1);
    assert_eq!(node.tables.index.workloads.len(), 2);
    assert_eq!(session.step(&published, &generations), Step::Wait);
}

#[test]
fn one_delta_is_under_way_and_the_next_skips_what_was_missed() {
    let (mut node, mut session, published, generations) = connected();
    let second = publish(&published, 2, mesh(&[(1, 2)], &[(1, true)]));
    let parts = sent(session.step(&second, &generations));
    let third = publish(&second, 3, mesh(&[(1, 3)], &[(1, true)]));
    let fourth = publish(&third, 4, mesh(&[(1, 4)], &[(1, true)]));
    assert_eq!(session.step(&third, &generations), Step::Wait);
    node.take(parts);
    assert!(session.ack(2).is_some());
    node.take(sent(session.step(&fourth, &generations)));
    assert_eq!(node.generation, 4);
    assert_eq!(
        node.tables,
        fourth.compiled.tables.slice(NODE, &node.interest)
    );
}

#[test]
fn a_change_that_does_not_concern_the_node_costs_a_number() {
    let (mut node, mut session, published, generations) = connected();
    let second = publish(
        &published,
        2,
        mesh(&[(1, 1), (2, 9)], &[(1, true), (2, false)]),
    );
    let bytes = node.take(sent(session.step(&second, &generations)));
    assert_eq!(bytes, "[]".len());
    assert_eq!(node.generation, 2);
}

#[test]
fn what_is_asked_for_comes_under_a_number_of_its_own() {
    let (mut node, mut session, published, generations) = connected();
    assert_eq!(session.subscribe(services([2])), Step::Wait);
    node.take(sent(session.step(&published, &generations)));
    assert_eq!(node.generation, 2);
    assert!(node.tables.services.contains_key(&ServiceId(2)));
    assert_eq!(
        session.ack(2),
        Some(1),
        "it still shows the mesh's generation 1"
    );
    // The mesh goes on with the same count.
    let next = publish(&published, generations.next(), mesh(&[(1, 7)], &[]));
    node.take(sent(session.step(&next, &generations)));
    assert_eq!((next.generation, node.generation), (3, 3));
}

#[test]
fn a_refused_generation_is_not_sent_again_but_the_next_is() {
    let (mut node, mut session, published, generations) = connected();
    let second = publish(&published, 2, mesh(&[(1, 2)], &[(1, true)]));
    sent(session.step(&second, &generations));
    assert!(session.nack(2).is_some());
    assert_eq!(session.step(&second, &generations), Step::Wait);
    assert_eq!(session.acked(), 1);
    let third = publish(&second, 3, mesh(&[(1, 3)], &[(1, true)]));
    node.take(sent(session.step(&third, &generations)));
    assert_eq!(
        node.tables,
        third.compiled.tables.slice(NODE, &node.interest)
    );
}

#[test]
fn answers_to_what_is_not_under_way_mean_nothing() {
    let (_, mut session, _, _) = connected();
    assert_eq!(session.ack(7), None);
    assert_eq!(session.nack(1), None);
    assert_eq!(session.acked(), 1);
}

#[test]
fn a_restarted_operator_counts_above_the_nodes_and_sends_what_has_changed_alone() {
    let (mut node, _, published, _) = connected();
    (node.generation, node.seen) = (41, 43);
    // The same manifests, a new process: generation 1 again.
    let again = publish(&Published::default(), 1, published.compiled.tables.clone());
    let generations = counted(1);
    let mut session = Session::new(node.hello(), Vec::new());
    assert_eq!(session.step(&again, &generations), Step::Wait);
    assert_eq!(session.acked(), 1);
    let next = publish(
        &again,
        generations.next(),
        mesh(&[(1, 7), (2, 1)], &[(1, true), (2, false)]),
    );
    let parts = sent(session.step(&next, &generations));
    assert_eq!(
        (parts[0].header.base, parts[0].header.generation),
        (Some(41), 44)
    );
    node.take(parts);
    assert_eq!(
        node.tables,
        next.compiled.tables.slice(NODE, &node.interest)
    );
}

#[test]
fn a_node_with_other_tables_gets_everything() {
    let (mut node, _, published, generations) = connected();
    node.digest = Digest(1);
    let mut session = Session::new(node.hello(), Vec::new());
    let parts = sent(session.step(&published, &generations));
    assert_eq!(parts[0].header.base, None);
    node.take(parts);
    assert_eq!(
        node.tables,
        published.compiled.tables.slice(NODE, &node.interest)
    );
}

#[test]
fn a_node_that_returns_with_new_wishes_gets_the_difference() {
    let (mut node, session, published, generations) = connected();
    let memory = session.into_memory();
    node.interest = services([1, 2]);
    let second = publish(&published, 2, mesh(&[(1, 5), (2, 1)], &[(1, true)]));
    let mut session = Session::new(node.hello(), memory);
    let parts = sent(session.step(&second, &generations));
    assert_eq!(parts[0].header.base, Some(1));
    node.take(parts);
    assert_eq!(
        node.tables,
        second.compiled.tables.slice(NODE, &node.interest)
    );
}

#[test]
fn another_schema_gets_resets_without_a_digest() {
    let (node, _, published, generations) = connected();
    let mut hello = node.hello();
    hello.schema = SCHEMA + 1;
    let mut session = Session::new(hello, Vec::new());
    for version in [1, 2] {
        let next = publish(&published, generations.next(), mesh(&[(1, version)], &[]));
        let header = sent(session.step(&next, &generations))[0].header;
        assert_eq!((header.base, header.digest), (None, None));
        assert!(session.ack(header.generation).is_some());
        assert_eq!(session.step(&next, &generations), Step::Wait);
    }
}

#[test]
fn interest_without_end_ends_the_stream() {
    let (_, mut session, _, _) = connected();
    let step = session.subscribe(services(0..MAX_INTEREST as u32 + 1));
    assert!(matches!(step, Step::Refuse(_)));
}

#[derive(Clone, Debug)]
enum Happening {
    Publish(Vec<(u32, u32)>, Vec<(u32, bool)>),
    Subscribe(u32),
    /// Messages arrive and the node accepts or refuses them.
    Deliver(bool),
    /// The stream breaks; a delta under way is lost with it, or applied but its answer lost.
    Reconnect(bool),
    RestartOperator,
}

fn happening() -> impl Strategy<Value = Happening> {
    let services = proptest::collection::vec((0u32..6, 0u32..3), 0..6);
    let pods = proptest::collection::vec((0u32..6, any::<bool>()), 0..6);
    prop_oneof![
        (services, pods).prop_map(|(services, pods)| Happening::Publish(services, pods)),
        (0u32..6).prop_map(Happening::Subscribe),
        any::<bool>().prop_map(Happening::Deliver),
        any::<bool>().prop_map(Happening::Reconnect),
        Just(Happening::RestartOperator),
    ]
}

/// One node and one operator with a wire between them.
struct World {
    node: Node,
    session: Session,
    published: Published,
    generations: Generations,
    wire: Option<Vec<DeltaPart>>,
}

impl World {
    fn step(&mut self) {
        match self.session.step(&self.published, &self.generations) {
            Step::Wait => {}
            Step::Send(parts) => self.wire = Some(parts),
            Step::Refuse(reason) => panic!("{reason}"),
        }
    }

    fn deliver(&mut self, accept: bool) {
        if let Some(parts) = self.wire.take() {
            let generation = parts[0].header.generation;
            if accept {
                self.node.take(parts);
                assert!(self.session.ack(generation).is_some());
            } else {
                assert!(self.session.nack(generation).is_some());
                self.node.seen = generation;
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Publish(services, pods) => {
                let next = self.generations.next();
                self.published = publish(&self.published, next, mesh(&services, &pods));
            }
            Happening::Subscribe(id) => {
                self.node.interest.services.insert(ServiceId(id));
                self.session.subscribe(services([id]));
            }
            Happening::Deliver(accept) => self.deliver(accept),
            Happening::Reconnect(applied) => {
                if let Some(parts) = self.wire.take() {
                    let number = parts[0].header.generation;
                    if applied {
                        self.node.take(parts);
                    }
                    self.node.seen = number;
                }
                let new = Session::new(self.node.hello(), Vec::new());
                let memory = std::mem::replace(&mut self.session, new).into_memory();
                self.session = Session::new(self.node.hello(), memory);
            }
            Happening::RestartOperator => {
                self.wire = None;
                let tables = self.published.compiled.tables.clone();
                self.published = publish(&Published::default(), 1, tables);
                self.generations = counted(1);
                self.session = Session::new(self.node.hello(), Vec::new());
            }
        }
        self.step();
    }
}

proptest! {
    /// Whatever happens on the way: when all is delivered, the node holds exactly its slice of the newest tables.
    #[test]
    fn the_node_always_ends_with_its_slice(happenings in proptest::collection::vec(happening(), 1..40)) {
        let node = Node::default();
        let session = Session::new(node.hello(), Vec::new());
        let published = publish(&Published::default(), 1, Tables::default());
        let mut world = World { node, session, published, generations: counted(1), wire: None };
        for happening in happenings {
            world.happen(happening);
        }
        // A refused generation is not repeated, so let there be a last one.
        world.happen(Happening::Publish(vec![(1, 1), (3, 2)], vec![(2, true), (4, false)]));
        while world.wire.is_some() {
            world.deliver(true);
            world.step();
        }
        let expected = world.published.compiled.tables.slice(NODE, &world.node.interest);
        prop_assert_eq!(&world.node.tables, &expected);
        prop_assert_eq!(world.session.acked(), world.published.generation);
    }
}
