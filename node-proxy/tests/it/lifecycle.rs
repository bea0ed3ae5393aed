//! Agents, operators and proxies come and go; what is carried goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use weft_wire::pod::{ToAgent, ToProxy};

use crate::backend::{Backend, echo};
use crate::client::{Client, Ending};
use crate::proxy::Spawn;
use crate::world::{ONE, PATIENCE, TCP, World, eventually};

#[test]
fn every_pod_is_acknowledged_before_ready_is_said() {
    let world = World::new();
    world
        .agent
        .wait(world.proxy.pid(), "three acks and Ready", |said| {
            let acks = said
                .iter()
                .filter(|word| matches!(word, ToAgent::Ack { .. }))
                .count();
            acks == 3 && said.last() == Some(&ToAgent::Ready)
        });
    assert!(world.agent.held_by(world.proxy.pid()).is_empty());
}

#[test]
fn the_admin_socket_knows_a_namespace_without_pods_here_as_soon_as_it_is_labelled() {
    let world = World::new();
    let namespace = |labels: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: fresh, labels: {labels}}}\n")
    };
    let answers = |what: &str, text: &str| {
        eventually(what, || world.proxy.get("/membership?fresh") == text);
    };
    world.mesh.apply(&namespace("{}"));
    answers("it exists", "weft-mesh 1\nnamespace fresh out\nend 1\n");
    world.mesh.apply(&namespace("{weft.mesh/mode: enabled}"));
    answers("it is in", "weft-mesh 1\nnamespace fresh in\nend 1\n");
    let all = world.proxy.get("/membership");
    assert!(all.contains("uid-client in\n"), "{all}");
}

#[test]
fn a_restarted_agent_is_told_what_is_held_and_connections_go_on() {
    let mut world = World::new();
    let _web = world.web();
    let _tcp = Backend::raw(&world.v1, TCP, echo);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("a");
    stream.exactly(1).unwrap();
    world.agent.restart();
    world.agent.ready(world.proxy.pid());
    let held = world.agent.held_by(world.proxy.pid());
    assert_eq!(held, ["uid-client", "uid-v1", "uid-v2"]);
    stream.send("b");
    assert_eq!(stream.exactly(1).unwrap(), b"b");
    assert_eq!(world.dial().get("/").status, 200);
}

#[test]
fn a_drained_proxy_finishes_what_runs_and_leaves() {
    let mut world = World::new();
    let web = world.answering(|seen| crate::world::ok(seen.line()));
    let _tcp = Backend::raw(&world.v1, TCP, echo);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("a");
    stream.exactly(1).unwrap();
    let mut kept = world.dial();
    assert_eq!(kept.get("/1").status, 200);
    let next = world.another(&Spawn::default());
    world.agent.tell(world.proxy.pid(), &ToProxy::Drain);
    // Requests on a kept connection are answered, and soon the client is told to come again elsewhere.
    let mut asked = 0;
    eventually("the client is told", || {
        asked += 1;
        let answer = kept.get("/2");
        assert_eq!(answer.status, 200);
        answer.header("connection") == Some("close")
    });
    assert_eq!(kept.ending(), Ending::Closed);
    // New connections are the next proxy's.
    for _ in 0..20 {
        assert_eq!(world.dial().get("/3").status, 200);
    }
    eventually("the next proxy has counted them", || {
        next.metrics()
            .sum("istio_requests_total", &["reporter=\"source\""])
            == 20.0
    });
    assert!(world.proxy.runs());
    stream.send("b");
    assert_eq!(stream.exactly(1).unwrap(), b"b");
    stream.half_close();
    assert_eq!(stream.rest().unwrap(), b"");
    drop(stream);
    assert!(world.proxy.ended(PATIENCE).success());
    assert_eq!(world.dial().get("/4").status, 200);
    assert_eq!(web.hits(), 22 + asked);
}

/// Under a supervisor that starts whatever ends, a drained proxy that left would come back as the newest of all.
#[test]
fn a_drained_proxy_can_be_told_to_wait_for_its_end() {
    let mut world = World::new();
    let _web = world.web();
    let spawn = Spawn {
        stay: true,
        ..Spawn::default()
    };
    let mut old = world.another(&spawn);
    world.agent.tell(old.pid(), &ToProxy::Drain);
    eventually("it has nothing left", || old.log().contains("drained"));
    assert_eq!(world.dial().get("/").status, 200, "the other one serves");
    assert!(old.runs() && world.proxy.runs());
    old.signal(Signal::SIGTERM);
    assert!(old.ended(PATIENCE).success());
}

#[test]
fn silent_connections_do_not_keep_a_drained_proxy_for_ever() {
    let mut world = World::new();
    let _web = world.web();
    let mut silent = world.dial();
    assert!(silent.is_silent(Duration::from_millis(50)));
    let _next = world.another(&Spawn::default());
    world.agent.tell(world.proxy.pid(), &ToProxy::Drain);
    assert!(world.proxy.ended(2 * PATIENCE).success());
    assert_eq!(silent.ending(), Ending::Closed);
}

#[test]
fn five_handovers_lose_no_request() {
    let world = World::new();
    let web = world.web();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|kind| {
                let (world, stop, sent) = (&world, &stop, &sent);
                scope.spawn(move || {
                    let mut kept: Option<Client> = None;
                    while !stop.load(Ordering::Relaxed) {
                        let mut client = kept.take().unwrap_or_else(|| world.dial());
                        let answer = client.get("/");
                        assert_eq!(answer.status, 200);
                        sent.fetch_add(1, Ordering::Relaxed);
                        if kind > 0 && answer.header("connection") != Some("close") {
                            kept = Some(client);
                        }
                    }
                })
            })
            .collect();
        let mut others: Vec<crate::proxy::Proxy> = Vec::new();
        for _ in 0..5 {
            let next = world.another(&Spawn::default());
            let old = others
                .last()
                .map_or(world.proxy.pid(), crate::proxy::Proxy::pid);
            world.agent.tell(old, &ToProxy::Drain);
            let before = sent.load(Ordering::Relaxed);
            eventually("traffic goes on", || {
                sent.load(Ordering::Relaxed) > before + 50
            });
            others.push(next);
        }
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        assert_eq!(web.hits(), sent.load(Ordering::Relaxed));
        // A proxy that came before all pods were known may keep a connection to its predecessor for a while.
        others.pop();
        for old in &mut others {
            assert!(old.ended(2 * PATIENCE).success());
        }
    });
}

#[test]
fn connections_wait_while_there_is_no_proxy_and_the_next_one_answers_them() {
    let mut world = World::new();
    let _web = world.web();
    assert_eq!(world.dial().get("/").status, 200);
    world.proxy.signal(Signal::SIGKILL);
    world.proxy.ended(PATIENCE);
    let mut waiting = world.dial();
    waiting.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    let dead = world.admin_socket();
    assert!(dead.exists(), "it had no time to remove it");
    let _next = world.another(&Spawn::default());
    assert_eq!(waiting.response().status, 200);
    assert!(!dead.exists(), "the next one removes what leads nowhere");
}

#[test]
fn without_an_operator_a_restarted_proxy_serves_from_disk() {
    let mut world = World::routed(crate::routing::ADMIN_IS_ANSWERED_HERE);
    let _web = world.web();
    let mut client = world.dial();
    assert_eq!(
        (client.get("/").status, client.get("/admin").status),
        (200, 403)
    );
    world.saved(|tables| !tables.policies.is_empty());
    world.mesh.leave();
    assert_eq!(
        (client.get("/").status, client.get("/admin").status),
        (200, 403)
    );
    world.proxy.signal(Signal::SIGKILL);
    world.proxy.ended(PATIENCE);
    let next = world.another(&Spawn::default());
    let mut client = world.dial();
    assert_eq!(
        (client.get("/").status, client.get("/admin").status),
        (200, 403)
    );
    assert_eq!(next.get("/healthz/ready"), "ready\n");
}

#[test]
fn a_released_pod_is_idle_when_its_last_connection_has_ended() {
    let world = World::new();
    let _tcp = Backend::raw(&world.v1, TCP, echo);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("a");
    stream.exactly(1).unwrap();
    let (pid, uid) = (world.proxy.pid(), "uid-client".to_owned());
    let idle = ToAgent::Idle { uid: uid.clone() };
    world.agent.tell(
        pid,
        &ToProxy::Releasing {
            uid: "uid-v2".to_owned(),
        },
    );
    let at_once = ToAgent::Idle {
        uid: "uid-v2".to_owned(),
    };
    world
        .agent
        .wait(pid, "that v2 is idle", |said| said.contains(&at_once));
    world
        .agent
        .tell(pid, &ToProxy::Releasing { uid: uid.clone() });
    stream.send("b");
    assert_eq!(stream.exactly(1).unwrap(), b"b");
    world
        .agent
        .wait(pid, "nothing yet", |said| !said.contains(&idle));
    stream.half_close();
    stream.rest().unwrap();
    world
        .agent
        .wait(pid, "that the client is idle", |said| said.contains(&idle));
    // The release is called off: being idle is nobody's business any more.
    world.agent.tell(pid, &ToProxy::Keep { uid });
    // Messages are handled in order: the answer to the next shows that this one has been handled.
    let v2 = "uid-v2".to_owned();
    world.agent.tell(pid, &ToProxy::Releasing { uid: v2 });
    world.agent.wait(pid, "that v2 is idle once more", |said| {
        said.iter().filter(|message| **message == at_once).count() == 2
    });
    let said = |agent: &crate::agent::Agent| agent.count(pid, &idle);
    let before = said(&world.agent);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("a");
    stream.exactly(1).unwrap();
    stream.half_close();
    stream.rest().unwrap();
    let closed = ["reporter=\"source\""];
    eventually("the connection has ended", || {
        world
            .proxy
            .metrics()
            .sum("istio_tcp_connections_closed_total", &closed)
            == 2.0
    });
    assert_eq!(said(&world.agent), before);
}

#[test]
fn a_termination_signal_is_an_orderly_end() {
    let mut world = World::new();
    let _web = world.web();
    let mut client = world.dial();
    assert_eq!(client.get("/").status, 200);
    drop(client);
    world.proxy.signal(Signal::SIGTERM);
    assert_eq!(world.proxy.ended(PATIENCE).code(), Some(0));
    let socket = world.admin_socket();
    assert!(!socket.exists(), "its admin socket is left behind");
}

/// A pod that the tables do not know yet.
fn ghost(world: &World) -> crate::world::Pod {
    let pod = crate::world::Pod {
        name: "ghost",
        ns: world.far.ns.try_clone().unwrap(),
        ip: world.far.ip,
        ip6: world.far.ip6,
    };
    world.agent.hold(&pod);
    let uid = pod.uid();
    world
        .agent
        .wait(world.proxy.pid(), "that it serves the ghost", |said| {
            said.contains(&ToAgent::Ack { uid: uid.clone() })
        });
    let spec = weft_model::capture::CaptureSpec::default();
    weft_redirect::capture(&pod.ns, &spec, crate::world::iptables()).unwrap();
    pod
}

#[test]
fn a_pod_that_the_tables_never_learn_of_is_refused_after_two_seconds() {
    let world = World::new();
    let web = world.web();
    let ghost = ghost(&world);
    let mut client = Client::connect(&ghost, (ONE, 80).into()).unwrap();
    let (ending, took) = crate::client::timed(|| client.ending());
    assert_eq!(ending, Ending::Reset);
    assert!(
        took > Duration::from_millis(1800) && took < Duration::from_millis(5000),
        "{took:?}"
    );
    assert_eq!(web.connections(), 0);
    let labels = ["reason=\"no_workload\""];
    let metrics = world.proxy.metrics();
    assert_eq!(metrics.sum("weft_connections_rejected_total", &labels), 1.0);
}

#[test]
fn a_pod_that_the_tables_learn_of_while_it_connects_is_served() {
    const GHOST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: ghost, namespace: shop, uid: uid-ghost, labels: {app: ghost}}
spec: {nodeName: node1}
status: {phase: Running, podIP: 10.244.2.5}
";
    let world = World::new();
    let _web = world.web();
    let ghost = ghost(&world);
    let mut client = Client::connect(&ghost, (ONE, 80).into()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    assert!(client.is_silent(Duration::from_millis(200)));
    world.mesh.apply(GHOST);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_service_that_is_asked_for_first_while_the_operator_is_away_is_refused_after_two_seconds() {
    let mut world = World::new();
    let web = world.web();
    world.mesh.leave();
    let mut client = world.dial();
    client.send("GET / HTTP/1.1\r\nhost: one\r\n\r\n");
    let (ending, took) = crate::client::timed(|| client.ending());
    assert_eq!(ending, Ending::Reset);
    assert!(
        took > Duration::from_millis(1800) && took < Duration::from_millis(5000),
        "{took:?}"
    );
    assert_eq!(web.connections(), 0);
    let labels = ["reason=\"table_not_ready\""];
    let metrics = world.proxy.metrics();
    assert_eq!(metrics.sum("weft_connections_rejected_total", &labels), 1.0);
}

/// A client that never rests would hold its pod in the mesh for as long as it likes.
#[test]
fn a_released_pods_http_connections_end_with_the_next_answer() {
    let world = World::new();
    let web = world.web();
    let mut kept = world.dial();
    assert_eq!(kept.get("/").status, 200);
    let (pid, uid) = (world.proxy.pid(), "uid-client".to_owned());
    let idle = ToAgent::Idle { uid: uid.clone() };
    world.agent.tell(pid, &ToProxy::Releasing { uid });
    eventually("the client is told", || {
        let answer = kept.get("/");
        assert_eq!(answer.status, 200);
        answer.header("connection") == Some("close")
    });
    assert_eq!(kept.ending(), Ending::Closed);
    world
        .agent
        .wait(pid, "that the client is idle", |said| said.contains(&idle));
    assert!(web.hits() >= 2);
}

/// What others have open in a pod's namespace would break if its rules went: it counts, and nothing new is opened there.
#[test]
fn a_pod_is_idle_only_when_no_one_pass_ends_in_it() {
    let world = World::new();
    let web = world.web();
    let tcp = Backend::raw(&world.v1, TCP, echo);
    assert_eq!(world.dial().get("/").status, 200);
    let mut stream = world.dial_to(ONE, TCP);
    stream.send("a");
    stream.exactly(1).unwrap();
    let (pid, uid) = (world.proxy.pid(), "uid-v1".to_owned());
    let idle = ToAgent::Idle { uid: uid.clone() };
    world.agent.tell(pid, &ToProxy::Releasing { uid });
    eventually("the idle connection in the pool is closed", || {
        web.open() == 0
    });
    // The rules still lead to the proxy: what comes now arrives as from another node.
    assert_eq!(world.dial().get("/").status, 200);
    stream.send("b");
    assert_eq!(stream.exactly(1).unwrap(), b"b");
    assert_eq!(world.agent.count(pid, &idle), 0);
    stream.half_close();
    stream.rest().unwrap();
    drop(stream);
    eventually("the stream has ended", || tcp.open() == 0);
    world
        .agent
        .wait(pid, "that v1 is idle", |said| said.contains(&idle));
}
