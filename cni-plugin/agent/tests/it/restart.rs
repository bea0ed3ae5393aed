//! Agent and proxy die, in every order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use std::os::fd::AsFd;
use weft_model::pod::Mode;
use weft_netns::{recv_with_fds, send_with_fds, seqpacket_connect, set_nonblocking};
use weft_wire::pod::{ToAgent, ToProxy, VERSION};

use crate::proxy::{Manner, Proxy};
use crate::world::{PATIENCE, World, echo, eventually, greeting, ping, pod};

fn shop(world: &World, names: &[&str]) {
    world.operator.publish(|pods| {
        pods.extend(
            names
                .iter()
                .map(|name| pod("shop", name, Mode::Enabled, vec![])),
        );
        pods.push(pod(
            "tools",
            "probe",
            Mode::Disabled("label".into()),
            vec![],
        ));
    });
}

#[test]
fn with_the_agent_dead_pods_of_the_mesh_wait_others_pass_and_del_succeeds() {
    let mut world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web", "late"]);
    let mut web = world.added("shop", "web");
    echo(&web.netns, 8080);
    let mut old = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut old);
    world.kill_agent();

    ping(&mut old, "still");
    let mut new = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut new);
    assert_eq!(
        proxy.relayed("uid-web"),
        2,
        "new connections are still captured"
    );

    let mut late = world.sandbox("shop", "late", "c-late");
    let error = world.chain("ADD", &mut late).unwrap_err();
    assert_eq!(error["code"], 11, "{error}");
    let mut unknown = world.sandbox("elsewhere", "x", "c-x");
    assert_eq!(world.chain("ADD", &mut unknown).unwrap_err()["code"], 11);
    let mut probe = world.sandbox("tools", "probe", "c-probe");
    world.chain("ADD", &mut probe).unwrap();
    let mut stranger = world.sandbox("tools", "new", "c-new");
    world.chain("ADD", &mut stranger).unwrap();

    // A busy machine delays any of them, but only our own waiting for the dead agent delays all.
    let quickest = (0..5).map(|_| {
        let begun = Instant::now();
        world.chain("DEL", &mut web).unwrap();
        begun.elapsed()
    });
    assert!(quickest.min().unwrap() < Duration::from_secs(1));
}

#[test]
fn a_restarted_agent_adopts_what_the_proxy_holds() {
    let mut world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web", "gone", "late"]);
    let mut web = world.added("shop", "web");
    let mut gone = world.added("shop", "gone");
    echo(&web.netns, 8080);
    let mut old = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut old);
    let during = web.rules();
    world.kill_agent();
    // A pod ends while nobody listens.
    world.chain("DEL", &mut gone).unwrap();
    let status = std::process::Command::new("ip")
        .args(["netns", "delete"])
        .arg(gone.path.file_name().unwrap())
        .status();
    assert!(status.unwrap().success());
    drop(gone);
    proxy.forget_heard();
    world.start_agent();
    world.wait_ready();

    proxy.hears("Keep", |m| {
        *m == ToProxy::Keep {
            uid: "uid-web".into(),
        }
    });
    proxy.hears("the end of the pod that went", |m| {
        *m == ToProxy::Del {
            uid: "uid-gone".into(),
        }
    });
    eventually("the pod is captured again", || {
        world.metric("weft_agent_pods{state=\"captured\"}") == 1.0
    });
    assert_eq!(
        proxy.offers(),
        0,
        "nothing is bound anew: {:?}",
        proxy.heard()
    );
    assert_eq!(web.rules(), during);
    ping(&mut old, "survived");
    world.chain("CHECK", &mut web).unwrap();
    let _late = world.added("shop", "late");
    world.chain("DEL", &mut web).unwrap();
    web.assert_clean();
}

#[test]
fn with_the_proxy_dead_connections_wait_for_the_next_one() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web"]);
    let web = world.added("shop", "web");
    echo(&web.netns, 8080);
    proxy.kill();
    let mut waiting = world.connect(SocketAddr::new(web.ip(), 8080));
    waiting
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert_eq!(greeting(&mut waiting), "", "nothing bypasses");
    let next = Proxy::start(&world.run_dir(), Manner::Acks);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!greeting(&mut waiting).is_empty());
    assert_eq!(next.relayed("uid-web"), 1);
}

#[test]
fn with_both_dead_the_next_agent_opens_the_listeners_again() {
    let mut world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web"]);
    let mut web = world.added("shop", "web");
    echo(&web.netns, 8080);
    let during = web.rules();
    world.kill_agent();
    proxy.kill();
    assert!(
        web.rules().contains("WEFT"),
        "captured all the same: nothing bypasses"
    );
    world.start_agent();
    world.wait_ready();
    let next = Proxy::start(&world.run_dir(), Manner::Acks);
    next.hears(
        "the pod",
        |m| matches!(m, ToProxy::Pod(pod) if pod.uid == "uid-web"),
    );
    let mut stream = world.connect(SocketAddr::new(web.ip(), 8080));
    greeting(&mut stream);
    ping(&mut stream, "again");
    assert_eq!(web.rules(), during);
    eventually("CHECK succeeds", || world.chain("CHECK", &mut web).is_ok());
    world.chain("DEL", &mut web).unwrap();
    web.assert_clean();
}

#[test]
fn a_pod_without_del_is_noticed() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web"]);
    let web = world.added("shop", "web");
    let name = web.path.file_name().unwrap().to_owned();
    drop(web);
    assert!(
        std::process::Command::new("ip")
            .args(["netns", "delete"])
            .arg(name)
            .status()
            .unwrap()
            .success()
    );
    world
        .operator
        .publish(|pods| pods.retain(|pod| pod.workload.pod.name != "web"));
    proxy.hears("Del", |m| {
        *m == ToProxy::Del {
            uid: "uid-web".into(),
        }
    });
    eventually("its record goes", || {
        std::fs::read_dir(world.path("run/pods")).unwrap().count() == 0
    });
}

#[test]
fn a_proxy_of_another_version_is_refused_by_name() {
    let world = World::start("1.0.0");
    let socket = seqpacket_connect(&world.path("run/agent.sock")).unwrap();
    set_nonblocking(&socket, false).unwrap();
    let hello = ToAgent::Hello {
        version: VERSION + 1,
        pid: 1,
        started: 0,
    };
    send_with_fds(socket.as_fd(), &serde_json::to_vec(&hello).unwrap(), &[]).unwrap();
    assert_eq!(
        recv_with_fds(socket.as_fd(), &mut [0; 64]).map_or(0, |(n, _)| n),
        0,
        "it hangs up"
    );
    eventually("the log says so", || {
        world
            .log()
            .contains(&format!("speaks version {}", VERSION + 1))
    });
    for garbage in [&b"{"[..], b"{\"type\":\"ready\"}"] {
        let socket = seqpacket_connect(&world.path("run/agent.sock")).unwrap();
        set_nonblocking(&socket, false).unwrap();
        send_with_fds(socket.as_fd(), garbage, &[]).unwrap();
        assert_eq!(
            recv_with_fds(socket.as_fd(), &mut [0; 64]).map_or(0, |(n, _)| n),
            0
        );
    }
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
}

#[test]
fn proxies_that_leave_in_any_order_leave_the_others_serving() {
    let world = World::start("1.0.0");
    let old = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web", "late"]);
    let mut web = world.added("shop", "web");
    echo(&web.netns, 8080);
    let of_web = |m: &ToProxy| matches!(m, ToProxy::Pod(pod) if pod.uid == "uid-web");
    let new = Proxy::start(&world.run_dir(), Manner::Acks);
    new.hears("the pod", of_web);
    new.say(ToAgent::Ready);
    old.hears("Drain", |m| *m == ToProxy::Drain);
    // The end of the older one comes after the beginning of the newer one.
    old.kill();
    greeting(&mut world.connect(SocketAddr::new(web.ip(), 8080)));
    assert_eq!(new.relayed("uid-web"), 1);
    // The newest dies before it was ready for anything.
    let newest = Proxy::start(&world.run_dir(), Manner::Acks);
    newest.hears("the pod", of_web);
    newest.kill();
    greeting(&mut world.connect(SocketAddr::new(web.ip(), 8080)));
    assert_eq!(new.relayed("uid-web"), 2);
    world.chain("CHECK", &mut web).unwrap();
    let _late = world.added("shop", "late");
    new.hears(
        "the new pod",
        |m| matches!(m, ToProxy::Pod(pod) if pod.uid == "uid-late"),
    );
}

#[test]
fn pods_end_while_proxies_come_and_go() {
    let world = World::start("1.0.0");
    let names = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    shop(&world, &names);
    for name in names {
        let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
        let mut web = world.added("shop", name);
        std::thread::scope(|scope| {
            let deleted = scope.spawn(|| world.chain("DEL", &mut web));
            proxy.kill();
            deleted.join().unwrap().unwrap();
        });
        web.assert_clean();
    }
    eventually("nothing of them is held", || {
        std::fs::read_dir(world.path("run/pods")).unwrap().count() == 0
    });
}

#[test]
fn check_knows_a_pod_of_an_earlier_agent_also_when_nobody_serves_it() {
    let mut world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    shop(&world, &["web"]);
    let mut web = world.added("shop", "web");
    world.kill_agent();
    let error = world.chain("CHECK", &mut web).unwrap_err();
    assert_eq!(error["code"], 11, "{error}");
    proxy.kill();
    world.start_agent();
    world.wait_ready();
    let error = world.chain("CHECK", &mut web).unwrap_err();
    assert!(error["code"] == 105 || error["code"] == 11, "{error}");
    let _next = Proxy::start(&world.run_dir(), Manner::Acks);
    eventually("CHECK succeeds", || world.chain("CHECK", &mut web).is_ok());
}
