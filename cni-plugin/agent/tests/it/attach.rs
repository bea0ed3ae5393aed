//! ADD, CHECK, DEL of single pods.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use weft_model::pod::Mode;
use weft_wire::pod::{ToAgent, ToProxy};

use crate::proxy::{Manner, Proxy};
use crate::world::{Sandbox, World, command, echo, eventually, greeting, inside, ping, pod};

fn enabled(world: &World, names: &[&str]) {
    world.operator.publish(|pods| {
        pods.extend(
            names
                .iter()
                .map(|name| pod("shop", name, Mode::Enabled, vec![])),
        )
    });
}

#[test]
fn a_pod_is_captured_served_checked_and_left_clean() {
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let world = World::start(version);
        let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
        enabled(&world, &["web", "client"]);

        let mut web = world.sandbox("shop", "web", "c-web");
        let before = web.rules();
        world.chain("ADD", &mut web).unwrap();
        assert_eq!(web.result.as_ref().unwrap()["cniVersion"], version);
        let during = web.rules();
        assert!(
            during.contains("-A WEFT_IN") && during.contains("-A WEFT_OUT"),
            "{during}"
        );
        assert_eq!(
            during.matches("-j WEFT_IN").count(),
            2,
            "one per family: {during}"
        );
        let ToProxy::Pod(offered) = proxy
            .heard()
            .into_iter()
            .find(|m| matches!(m, ToProxy::Pod(_)))
            .unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (offered.namespace.as_str(), offered.name.as_str()),
            ("shop", "web")
        );
        assert_eq!((offered.ips.len(), offered.ips[0]), (2, web.ip()));

        // From outside through the proxy to the app, which sees the client's address, in both families.
        echo(&web.netns, 8080);
        let client = world.added("shop", "client");
        for (family, ip) in offered.ips.iter().enumerate() {
            let mut stream = crate::world::connect(&client.netns, SocketAddr::new(*ip, 8080));
            let own = client.result.as_ref().unwrap()["ips"][family]["address"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(greeting(&mut stream), own.split('/').next().unwrap());
            ping(&mut stream, "hello");
        }
        assert_eq!(
            (proxy.relayed("uid-web"), proxy.relayed("uid-client")),
            (2, 2)
        );

        // The runtime repeats itself.
        world
            .chain("CHECK", &mut web)
            .map_err(|e| assert_eq!((version, &e["code"]), ("0.3.1", &json!(1))))
            .ok();
        let offers = proxy.offers();
        let plugin = json!({"type": "weft-cni", "cniVersion": version, "name": "x", "runDir": world.run_dir(),
            "stateDir": world.path("state"), "prevResult": web.result});
        assert!(world.call("ADD", &web, &plugin).status.success());
        assert_eq!(
            (web.rules(), proxy.offers()),
            (during, offers),
            "a repeated ADD changes nothing"
        );

        world.chain("DEL", &mut web).unwrap();
        proxy.hears("Del", |m| {
            *m == ToProxy::Del {
                uid: "uid-web".into(),
            }
        });
        assert_eq!(web.rules(), before);
        web.assert_clean();
        world.chain("DEL", &mut web).unwrap();
    }
}

#[test]
fn a_flush_by_the_application_shows_in_check_and_add_repairs_it() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    enabled(&world, &["web"]);
    let mut web = world.added("shop", "web");
    world.chain("CHECK", &mut web).unwrap();
    inside(&web.netns, command("iptables", &["-t", "nat", "-F"]));
    let error = world.chain("CHECK", &mut web).unwrap_err();
    assert_eq!(error["code"], 105, "{error}");
    assert!(
        error["msg"].as_str().unwrap().contains("shop/web"),
        "{error}"
    );
    let plugin = json!({"type": "weft-cni", "cniVersion": "1.0.0", "name": "x", "runDir": world.run_dir(),
        "stateDir": world.path("state"), "prevResult": web.result});
    assert!(world.call("ADD", &web, &plugin).status.success());
    world.chain("CHECK", &mut web).unwrap();

    // And without anybody asking, a little later.
    inside(&web.netns, command("iptables", &["-t", "nat", "-F"]));
    eventually("it is repaired", || {
        web.rules().matches("-j WEFT_IN").count() == 2
    });
    assert!(world.metric("weft_agent_repairs_total") >= 1.0);
}

#[test]
fn without_a_proxy_a_pod_of_the_mesh_waits_and_nothing_is_left_of_the_attempt() {
    let world = World::start("1.0.0");
    enabled(&world, &["web"]);
    let mut web = world.sandbox("shop", "web", "c-web");
    let begun = Instant::now();
    let error = world.chain("ADD", &mut web).unwrap_err();
    assert_eq!(error["code"], 11, "{error}");
    assert!(
        error["msg"].as_str().unwrap().contains("no weft-proxy"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(6));
    web.assert_clean();
    world.chain("DEL", &mut web).unwrap();
    // With a proxy there it gets in.
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.chain("ADD", &mut web).unwrap();
}

#[test]
fn a_proxy_that_refuses_or_says_nothing_is_reported() {
    for (manner, code, says) in [
        (Manner::Nacks, 103, "the proxy is full"),
        (Manner::Silent, 11, "not acknowledged"),
    ] {
        let world = World::start("1.0.0");
        let proxy = Proxy::start(&world.run_dir(), manner);
        enabled(&world, &["web"]);
        let mut web = world.sandbox("shop", "web", "c-web");
        let error = world.chain("ADD", &mut web).unwrap_err();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["msg"].as_str().unwrap().contains(says), "{error}");
        web.assert_clean();
        proxy.hears("the withdrawal", |m| {
            *m == ToProxy::Del {
                uid: "uid-web".into(),
            }
        });
    }
}

#[test]
fn a_late_acknowledgement_is_in_time() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Silent);
    enabled(&world, &["web"]);
    let mut web = world.sandbox("shop", "web", "c-web");
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| world.chain("ADD", &mut web));
        proxy.hears("the pod", |m| matches!(m, ToProxy::Pod(_)));
        assert!(
            !adding.is_finished(),
            "ADD returns only after the acknowledgement"
        );
        proxy.say(ToAgent::Ack {
            uid: "uid-web".into(),
        });
        adding.join().unwrap().unwrap();
    });
}

#[test]
fn a_pod_that_the_operator_names_late_is_waited_for() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    let mut web = world.sandbox("shop", "web", "c-web");
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| world.chain("ADD", &mut web));
        std::thread::sleep(Duration::from_millis(300));
        enabled(&world, &["web"]);
        adding.join().unwrap().unwrap();
    });
    let mut ghost = world.sandbox("shop", "ghost", "c-ghost");
    let error = world.chain("ADD", &mut ghost).unwrap_err();
    assert_eq!(error["code"], 11, "{error}");
    ghost.assert_clean();
}

#[test]
fn pods_outside_the_mesh_pass_untouched() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    world.operator.publish(|pods| {
        pods.push(pod(
            "tools",
            "probe",
            Mode::Disabled("label".into()),
            vec![],
        ))
    });
    world.added("tools", "probe").assert_clean();
    world.added("kube-system", "dns").assert_clean();
    // Its namespace is outside, itself is not known: the agent lets it pass after a moment.
    world.added("tools", "unlisted").assert_clean();
    assert_eq!(proxy.offers(), 0);
}

#[test]
fn a_namespace_that_does_not_own_the_address_is_refused() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    enabled(&world, &["web"]);
    let web = world.sandbox("shop", "web", "c-web");
    let plugin = |ips| {
        json!({"type": "weft-cni", "cniVersion": "1.0.0", "name": "x", "runDir": world.run_dir(),
        "stateDir": world.path("state"), "prevResult": {"cniVersion": "1.0.0", "ips": ips}})
    };
    for (ips, says) in [
        (json!([{"address": "10.9.9.9/24"}]), "10.9.9.9"),
        (json!([]), "no address"),
    ] {
        let output = world.call("ADD", &web, &plugin(ips));
        let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["code"], 101, "{error}");
        assert!(error["msg"].as_str().unwrap().contains(says), "{error}");
    }
    web.assert_clean();
}

#[test]
fn an_application_on_our_port_is_named() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    enabled(&world, &["web"]);
    let mut web = world.sandbox("shop", "web", "c-web");
    echo(&web.netns, 15006);
    let error = world.chain("ADD", &mut web).unwrap_err();
    assert_eq!(error["code"], 102, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("15006"), "{error}");
    assert!(!web.rules().contains("WEFT"));
}

#[test]
fn the_newest_sandbox_wins_and_the_end_of_the_old_one_does_not_touch_it() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    enabled(&world, &["web"]);
    let mut first = world.sandbox("shop", "web", "c-1");
    world.chain("ADD", &mut first).unwrap();
    let mut second = world.sandbox("shop", "web", "c-2");
    world.chain("ADD", &mut second).unwrap();
    first.assert_clean();
    proxy.forget_heard();
    world.chain("DEL", &mut first).unwrap();
    world.chain("CHECK", &mut second).unwrap();
    assert_eq!(
        proxy.heard(),
        [],
        "the DEL of the old sandbox is nobody's business"
    );
    world.chain("DEL", &mut second).unwrap();
    second.assert_clean();
}

#[test]
fn a_newer_proxy_takes_over_and_the_older_one_drains() {
    let world = World::start("1.0.0");
    let old = Proxy::start(&world.run_dir(), Manner::Acks);
    enabled(&world, &["web", "late"]);
    let _web = world.added("shop", "web");
    let new = Proxy::start(&world.run_dir(), Manner::Acks);
    assert!(
        new.heard()
            .iter()
            .any(|m| matches!(m, ToProxy::Pod(pod) if pod.uid == "uid-web"))
    );
    assert!(!old.heard().contains(&ToProxy::Drain));
    new.say(ToAgent::Ready);
    old.hears("Drain", |m| *m == ToProxy::Drain);
    assert!(!new.heard().contains(&ToProxy::Drain));
    old.forget_heard();
    let mut late = world.added("shop", "late");
    assert_eq!(old.heard(), [], "new pods are the new proxy's alone");
    world.chain("DEL", &mut late).unwrap();
}

#[test]
fn only_root_may_call() {
    let world = World::start("1.0.0");
    use std::os::unix::fs::PermissionsExt;
    for socket in ["run/cni.sock", "run/agent.sock"] {
        let mode = std::fs::metadata(world.path(socket))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{socket}");
    }
}

/// Calls our plugin alone for a sandbox with one address.
fn alone(world: &World, verb: &str, sandbox: &Sandbox, address: &str) -> serde_json::Value {
    let entry = json!({"type": "weft-cni", "cniVersion": "1.0.0", "name": "x", "runDir": world.run_dir(),
        "stateDir": world.path("state"), "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": address}]}});
    let output = world.call(verb, sandbox, &entry);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[test]
fn an_address_that_is_used_again_at_once_belongs_to_the_new_pod() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    let address = "10.77.0.7/24";
    let ip = "10.77.0.7".parse().unwrap();
    let listed = |name| pod("shop", name, Mode::Enabled, vec![ip]);
    world.operator.publish(|pods| {
        pods.push(listed("first"));
        pods.push(pod("shop", "second", Mode::Enabled, vec![]));
    });
    let [first, second] = ["first", "second"].map(|name| {
        let sandbox = world.sandbox("shop", name, name);
        for words in [
            "link add eth0 type veth peer name peer0",
            "link set eth0 up",
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            assert!(
                inside(&sandbox.netns, command("ip", &words))
                    .status
                    .success()
            );
        }
        sandbox
    });
    let own = |sandbox: &Sandbox| {
        let words = ["address", "add", address, "dev", "eth0"];
        assert!(
            inside(&sandbox.netns, command("ip", &words))
                .status
                .success()
        );
    };
    own(&first);
    let added = |sandbox: &Sandbox| {
        eventually("ADD succeeds", || {
            alone(&world, "ADD", sandbox, address)["code"].is_null()
        });
    };
    added(&first);
    // The first one's address stays in its namespace until the plugins before ours have had their turn.
    alone(&world, "DEL", &first, address);
    own(&second);
    added(&second);
    assert!(second.rules().contains("-j WEFT_OUT"));
    // The API still shows the first pod with the address, and now the second one too.
    world.operator.publish(|pods| {
        pods.retain(|pod| pod.workload.uid != "uid-second");
        pods.push(listed("second"));
    });
    proxy.hears("the end of the first", |m| {
        *m == ToProxy::Del {
            uid: "uid-first".into(),
        }
    });
    first.assert_clean();
    alone(&world, "DEL", &first, address);
    assert!(alone(&world, "CHECK", &second, address)["code"].is_null());
    let of_second = |m: &ToProxy| {
        *m == ToProxy::Del {
            uid: "uid-second".into(),
        }
    };
    assert!(!proxy.heard().iter().any(of_second));
    assert!(!first.rules().contains("WEFT"));
}

#[test]
fn a_flush_of_the_hosts_firewall_finds_nothing_of_ours() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    enabled(&world, &["web"]);
    let mut web = world.added("shop", "web");
    echo(&web.netns, 8080);
    let to = SocketAddr::new(web.ip(), 8080);
    let mut old = world.connect(to);
    greeting(&mut old);
    let during = web.rules();
    for program in [
        "iptables-nft",
        "iptables-legacy",
        "ip6tables-nft",
        "ip6tables-legacy",
    ] {
        let saved = inside(world.node(), command(&format!("{program}-save"), &[]));
        let saved = String::from_utf8(saved.stdout).unwrap();
        assert!(!saved.contains("WEFT"), "{saved}");
        for table in ["filter", "nat", "mangle", "raw"] {
            let flushed = inside(world.node(), command(program, &["-t", table, "-F"]));
            assert!(flushed.status.success(), "{flushed:?}");
        }
    }
    ping(&mut old, "through the flush");
    greeting(&mut world.connect(to));
    assert_eq!(proxy.relayed("uid-web"), 2);
    assert_eq!(web.rules(), during);
    world.chain("CHECK", &mut web).unwrap();
}

#[test]
fn descriptors_are_given_back() {
    let world = World::start("1.0.0");
    let _proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    let names: Vec<String> = (0..8).map(|number| format!("web-{number}")).collect();
    enabled(
        &world,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let cycle = |name: &str| {
        let mut web = world.added("shop", name);
        world.chain("CHECK", &mut web).unwrap();
        // One that has to be refused, and a search through all namespaces that finds nobody.
        let code = alone(&world, "ADD", &web, "10.9.9.9/24")["code"].clone();
        assert_eq!(code, 101);
        let lost = "10.9.9.9".parse().unwrap();
        world.operator.publish(|pods| {
            pods.retain(|pod| pod.workload.uid != "uid-lost");
            pods.push(pod("shop", "lost", Mode::Enabled, vec![lost]));
        });
        world.chain("DEL", &mut web).unwrap();
        web.assert_clean();
    };
    cycle(&names[0]);
    let mut least = usize::MAX;
    eventually("the first is forgotten", || {
        least = least.min(world.descriptors());
        world.metric("weft_agent_pods{state=\"captured\"}") == 0.0
    });
    for name in &names[1..] {
        cycle(name);
    }
    // Each pod has three descriptors, and a search opens one for each namespace of the machine.
    eventually("all are closed", || world.descriptors() <= least + 2);
}
