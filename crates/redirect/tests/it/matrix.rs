//! The matrix of hardening.md 4.6: each row in both flavours and both families. What the relay saw proves that nothing
//! bypassed the mesh and nothing was captured that should not be.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use weft_model::capture::{CaptureSpec, PortRange};
use weft_netns::listen_in;
use weft_redirect::{Drift, Family, capture, verify};

use crate::app::{Chat, Server, datagram, talk};
use crate::raw;
use crate::world::{APP, World, host_port, ip, run};

macro_rules! matrix {
    ($($row:ident),* $(,)?) => {
        matrix!(@ nft_v4, Nft, V4, $($row),*);
        matrix!(@ nft_v6, Nft, V6, $($row),*);
        matrix!(@ legacy_v4, Legacy, V4, $($row),*);
        matrix!(@ legacy_v6, Legacy, V6, $($row),*);
    };
    (@ $module:ident, $flavour:ident, $family:ident, $($row:ident),*) => {
        mod $module {
            $(#[test]
            fn $row() {
                super::$row(super::World::new(weft_redirect::Flavour::$flavour, super::Family::$family));
            })*
        }
    };
}

matrix!(
    row_01_pod_on_another_node,
    row_02_pod_on_the_same_node,
    row_02_pod_on_the_same_node_in_one_pass,
    row_03_cluster_ip,
    row_04_own_cluster_ip,
    row_05_own_pod_ip,
    row_06_loopback,
    row_07_headless_service,
    row_08_outside_of_the_cluster,
    row_09_node_ip_and_node_port,
    row_10_link_local_metadata,
    row_11_node_local_dns,
    row_12_dns,
    row_13_other_protocols,
    row_14_excluded_port_range_and_network,
    row_14_more_ports_than_one_rule_holds,
    row_14_included_networks_only,
    row_15_excluded_inbound_port,
    row_16_probes_from_the_node,
    row_17_other_processes_of_the_node,
    row_18_19_server_first_and_half_close,
    row_20_small_and_large_mtu,
    row_25_any_bound_address,
    row_25_app_on_loopback_stays_unreachable,
    row_26_source_address_from_everywhere,
    row_27_app_wants_a_port_of_the_mesh,
    row_28_app_of_any_user,
    row_32_closed_port_fails_fast,
    row_33_host_port,
    row_34_stray_segments_do_not_reset,
    row_35_flush_by_the_app_is_found,
    own_ports_and_the_tunnel_port,
);

fn serve(world: &World, pod: &crate::world::Pod) -> Server {
    Server::start(&pod.ns, (world.any(), APP))
}

pub(crate) fn row_01_pod_on_another_node(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.far);
    let to = w.app(&w.far);
    assert_eq!(talk(&w.a.ns, to).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, to), w.entering(&w.far, to)]);
}

pub(crate) fn row_02_pod_on_the_same_node(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.b);
    let to = w.app(&w.b);
    assert_eq!(talk(&w.a.ns, to).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, to), w.entering(&w.b, to)]);
}

pub(crate) fn row_02_pod_on_the_same_node_in_one_pass(mut w: World) {
    w.capture_all();
    w.relay.one_pass(w.ip(&w.b), &w.b.ns);
    let _app = serve(&w, &w.b);
    let to = w.app(&w.b);
    assert_eq!(talk(&w.a.ns, to).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, to)]);
}

fn row_03_cluster_ip(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.b);
    let service = SocketAddr::new(w.pick("10.96.0.10", "fd00:10:96::10"), 80);
    w.relay.service(service, w.app(&w.b));
    assert_eq!(talk(&w.a.ns, service).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, service), w.entering(&w.b, w.app(&w.b))]);
}

pub(crate) fn row_04_own_cluster_ip(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.a);
    let service = SocketAddr::new(w.pick("10.96.0.10", "fd00:10:96::10"), 80);
    w.relay.service(service, w.app(&w.a));
    // A pod on this node, so the proxy reaches it in one pass: itself.
    w.relay.one_pass(w.ip(&w.a), &w.a.ns);
    assert_eq!(talk(&w.a.ns, service).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, service)]);
}

pub(crate) fn row_05_own_pod_ip(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.a);
    assert_eq!(talk(&w.a.ns, w.app(&w.a)).unwrap(), w.ip(&w.a));
    w.saw(&[]);
}

pub(crate) fn row_06_loopback(mut w: World) {
    w.capture_all();
    let loopback = w.pick("127.0.0.1", "::1");
    let _everywhere = serve(&w, &w.a);
    let _loopback_only = Server::start(&w.a.ns, (loopback, 9000));
    for port in [APP, 9000] {
        assert_eq!(talk(&w.a.ns, (loopback, port).into()).unwrap(), loopback);
    }
    w.saw(&[]);
}

/// Names of a headless service lead to the pods' own addresses.
fn row_07_headless_service(mut w: World) {
    w.capture_all();
    let _apps = (serve(&w, &w.b), serve(&w, &w.far));
    for pod in [&w.b, &w.far] {
        let to = w.app(pod);
        assert_eq!(talk(&w.a.ns, to).unwrap(), w.ip(&w.a));
        w.saw(&[w.leaving(&w.a, to), w.entering(pod, to)]);
    }
}

fn row_08_outside_of_the_cluster(mut w: World) {
    w.capture_all();
    let outside = SocketAddr::new(w.pick("203.0.113.9", "2001:db8:9::9"), 443);
    let _app = Server::start(&w.node, outside);
    assert_eq!(talk(&w.a.ns, outside).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, outside)]);
}

fn row_09_node_ip_and_node_port(mut w: World) {
    w.capture_all();
    let _apps = (Server::start(&w.node, (w.any(), 9100)), serve(&w, &w.far));
    let node = SocketAddr::new(w.node_ip(), 9100);
    assert_eq!(talk(&w.a.ns, node).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, node)]);
    let node_port = SocketAddr::new(w.node_ip(), 30080);
    let to = host_port(w.ip(&w.far), APP);
    w.node_iptables(&format!(
        "-t nat -A PREROUTING -p tcp --dport 30080 -j DNAT --to-destination {to}"
    ));
    assert_eq!(talk(&w.a.ns, node_port).unwrap(), w.ip(&w.a));
    w.saw(&[
        w.leaving(&w.a, node_port),
        w.entering(&w.far, w.app(&w.far)),
    ]);
}

/// Link-local destinations leave directly: the metadata service authenticates by where a packet comes from.
fn row_10_link_local_metadata(mut w: World) {
    w.capture_all();
    link_local(&w, "169.254.169.254", 80);
}

fn row_11_node_local_dns(mut w: World) {
    w.capture_all();
    link_local(&w, "169.254.20.10", 53);
}

fn link_local(w: &World, v4: &str, port: u16) {
    let _app = Server::start(&w.node, (w.any(), port));
    let (to, from): (SocketAddr, fn(IpAddr) -> bool) = match w.family {
        Family::V4 => ((v4.parse::<Ipv4Addr>().unwrap(), port).into(), |ip| {
            ip.to_string() == "10.244.1.2"
        }),
        Family::V6 => {
            let ip: Ipv6Addr = "fe80::a9fe:a9fe".parse().unwrap();
            let eth0 = w.a.ns.run(|| if_nametoindex("eth0")).unwrap().unwrap();
            (SocketAddrV6::new(ip, port, 0, eth0).into(), |ip| {
                ip.to_string().starts_with("fe80::")
            })
        }
    };
    assert!(from(talk(&w.a.ns, to).unwrap()));
    w.saw(&[]);
}

fn row_12_dns(mut w: World) {
    w.capture_all();
    let dns = SocketAddr::new(w.pick("203.0.113.9", "2001:db8:9::9"), 53);
    assert_eq!(datagram(&w.node, dns, &w.a.ns).unwrap(), w.ip(&w.a));
    w.saw(&[]);
    let _over_tcp = Server::start(&w.node, dns);
    assert_eq!(talk(&w.a.ns, dns).unwrap(), w.ip(&w.a));
    w.saw(&[w.leaving(&w.a, dns)]);
}

fn row_13_other_protocols(mut w: World) {
    w.capture_all();
    assert_eq!(datagram(&w.b.ns, w.app(&w.b), &w.a.ns).unwrap(), w.ip(&w.a));
    raw::ping(&w.a.ns, w.ip(&w.b)).unwrap();
    raw::ping(&w.far.ns, w.ip(&w.a)).unwrap();
    w.saw(&[]);
}

fn row_14_excluded_port_range_and_network(mut w: World) {
    let spec = CaptureSpec {
        exclude_outbound_ports: vec![
            PortRange::one(3306),
            PortRange {
                first: 9000,
                last: 9010,
            },
        ],
        exclude_outbound_cidrs: ["203.0.113.0/24", "2001:db8:9::/48"]
            .map(|n| n.parse().unwrap())
            .to_vec(),
        ..CaptureSpec::default()
    };
    w.capture("a", &spec);
    let outside = w.pick("203.0.113.9", "2001:db8:9::9");
    for (ip, port, captured) in [
        (w.ip(&w.b), 3306, false),
        (w.ip(&w.b), 9000, false),
        (w.ip(&w.b), 9010, false),
        (w.ip(&w.b), 9011, true),
        (w.ip(&w.b), 8999, true),
        (outside, 443, false),
    ] {
        let server = if ip == outside { &w.node } else { &w.b.ns };
        let to = SocketAddr::new(ip, port);
        let _app = Server::start(server, to);
        assert_eq!(talk(&w.a.ns, to).unwrap(), w.ip(&w.a));
        w.saw(
            if captured {
                vec![w.leaving(&w.a, to)]
            } else {
                vec![]
            }
            .as_slice(),
        );
    }
}

fn row_14_more_ports_than_one_rule_holds(mut w: World) {
    let ports = |i: u16| 4000 + 2 * i;
    let exclude_outbound_ports = (0..20).map(|i| PortRange::one(ports(i))).collect();
    w.capture(
        "a",
        &CaptureSpec {
            exclude_outbound_ports,
            ..CaptureSpec::default()
        },
    );
    for (port, captured) in [
        (ports(0), false),
        (ports(14), false),
        (ports(15), false),
        (ports(19), false),
        (4001, true),
    ] {
        let to = SocketAddr::new(w.ip(&w.b), port);
        let _app = Server::start(&w.b.ns, to);
        talk(&w.a.ns, to).unwrap();
        w.saw(
            if captured {
                vec![w.leaving(&w.a, to)]
            } else {
                vec![]
            }
            .as_slice(),
        );
    }
}

fn row_14_included_networks_only(mut w: World) {
    let include_outbound_cidrs = ["10.244.2.0/24", "fd00:10:244:2::/64"]
        .map(|n| n.parse().unwrap())
        .to_vec();
    w.capture(
        "a",
        &CaptureSpec {
            include_outbound_cidrs,
            ..CaptureSpec::default()
        },
    );
    let _apps = (serve(&w, &w.b), serve(&w, &w.far), serve(&w, &w.a));
    talk(&w.a.ns, w.app(&w.b)).unwrap();
    w.saw(&[]);
    talk(&w.a.ns, w.app(&w.far)).unwrap();
    w.saw(&[w.leaving(&w.a, w.app(&w.far))]);
    // The list is about what leaves the pod; what enters is captured as ever.
    talk(&w.b.ns, w.app(&w.a)).unwrap();
    w.saw(&[w.entering(&w.a, w.app(&w.a))]);
}

fn row_15_excluded_inbound_port(mut w: World) {
    w.capture(
        "b",
        &CaptureSpec {
            exclude_inbound_ports: vec![PortRange::one(9090)],
            ..CaptureSpec::default()
        },
    );
    let _apps = (serve(&w, &w.b), Server::start(&w.b.ns, (w.any(), 9090)));
    assert_eq!(
        talk(&w.a.ns, (w.ip(&w.b), 9090).into()).unwrap(),
        w.ip(&w.a)
    );
    w.saw(&[]);
    assert_eq!(talk(&w.a.ns, w.app(&w.b)).unwrap(), w.ip(&w.a));
    w.saw(&[w.entering(&w.b, w.app(&w.b))]);
}

pub(crate) fn row_16_probes_from_the_node(mut w: World) {
    let node_ips = ["10.244.1.1", "fd00:10:244:1::1"]
        .map(|ip| ip.parse().unwrap())
        .to_vec();
    w.capture(
        "b",
        &CaptureSpec {
            node_ips,
            probe_ports: vec![8081],
            ..CaptureSpec::default()
        },
    );
    let _apps = (serve(&w, &w.b), Server::start(&w.b.ns, (w.any(), 8081)));
    let probe = SocketAddr::new(w.ip(&w.b), 8081);
    assert_eq!(talk(&w.node, probe).unwrap(), w.node_ip());
    w.saw(&[]);
    // On the app's port the node is a client like any other, and on the probe port others are.
    assert_eq!(talk(&w.node, w.app(&w.b)).unwrap(), w.node_ip());
    w.saw(&[w.entering(&w.b, w.app(&w.b))]);
    assert_eq!(talk(&w.a.ns, probe).unwrap(), w.ip(&w.a));
    w.saw(&[w.entering(&w.b, probe)]);
}

fn row_17_other_processes_of_the_node(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.b);
    assert_eq!(talk(&w.node, w.app(&w.b)).unwrap(), w.node_ip());
    w.saw(&[w.entering(&w.b, w.app(&w.b))]);
}

/// The application of these tests speaks first and says goodbye only after a half-close.
pub(crate) fn row_18_19_server_first_and_half_close(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.far);
    let mut chat = Chat::open(&w.a.ns, w.app(&w.far)).unwrap();
    chat.echo(1).unwrap();
    chat.finish().unwrap();
}

pub(crate) fn row_20_small_and_large_mtu(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.b);
    for mtu in [1280, 9000] {
        ip(&w.a.ns, &format!("link set eth0 mtu {mtu}\n"));
        let mut chat = Chat::open(&w.a.ns, w.app(&w.b)).unwrap();
        chat.echo(1 << 20).unwrap();
        chat.finish().unwrap();
        w.saw(&[w.leaving(&w.a, w.app(&w.b)), w.entering(&w.b, w.app(&w.b))]);
    }
}

pub(crate) fn row_25_any_bound_address(mut w: World) {
    w.capture_all();
    let bound: Vec<IpAddr> = match w.family {
        Family::V4 => vec![
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
            w.ip(&w.b),
        ],
        Family::V6 => vec![Ipv6Addr::UNSPECIFIED.into(), w.ip(&w.b)],
    };
    for ip in bound {
        let _app = Server::start(&w.b.ns, (ip, APP));
        assert_eq!(
            talk(&w.a.ns, w.app(&w.b)).unwrap(),
            w.ip(&w.a),
            "bound to {ip}"
        );
        w.saw(&[w.leaving(&w.a, w.app(&w.b)), w.entering(&w.b, w.app(&w.b))]);
    }
}

pub(crate) fn row_25_app_on_loopback_stays_unreachable(mut w: World) {
    w.capture_all();
    let _app = Server::start(&w.b.ns, (w.pick("127.0.0.1", "::1"), APP));
    assert!(talk(&w.a.ns, w.app(&w.b)).is_err());
    w.relay.one_pass(w.ip(&w.b), &w.b.ns);
    assert!(talk(&w.a.ns, w.app(&w.b)).is_err());
}

pub(crate) fn row_26_source_address_from_everywhere(mut w: World) {
    w.capture("b", &CaptureSpec::default());
    let _app = serve(&w, &w.b);
    for (from, ip) in [
        (&w.a.ns, w.ip(&w.a)),
        (&w.far.ns, w.ip(&w.far)),
        (&w.node, w.node_ip()),
    ] {
        assert_eq!(talk(from, w.app(&w.b)).unwrap(), ip);
        w.saw(&[w.entering(&w.b, w.app(&w.b))]);
    }
}

fn row_27_app_wants_a_port_of_the_mesh(mut w: World) {
    w.capture("b", &CaptureSpec::default());
    for port in [15001, 15006] {
        let app = w.b.ns.run(|| TcpListener::bind((w.any(), port))).unwrap();
        assert_eq!(app.unwrap_err().kind(), ErrorKind::AddrInUse);
    }
    let _app =
        w.a.ns
            .run(|| TcpListener::bind((w.any(), 15006)))
            .unwrap()
            .unwrap();
    let error = listen_in(&w.a.ns, 15006, true, 1).unwrap_err().to_string();
    assert!(
        error.contains("port 15006") && error.contains("application"),
        "{error}"
    );
}

/// Loops are broken by mark, not by user: an application may run as any user, the proxy's included.
fn row_28_app_of_any_user(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.far);
    let to = w.app(&w.far);
    for uid in [0, 1337, 65534] {
        let script = format!("exec 3<>/dev/tcp/{}/{}; head -1 <&3", to.ip(), to.port());
        let mut client = Command::new("bash");
        client.args(["-c", &script]).uid(uid).gid(uid);
        let out = w.a.ns.run(|| client.output()).unwrap().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out.stdout).trim(),
            w.ip(&w.a).to_string(),
            "{uid}"
        );
        w.saw(&[w.leaving(&w.a, to), w.entering(&w.far, to)]);
    }
}

pub(crate) fn row_32_closed_port_fails_fast(mut w: World) {
    w.capture_all();
    let begin = Instant::now();
    assert_eq!(
        talk(&w.a.ns, w.app(&w.far)).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
}

fn row_33_host_port(mut w: World) {
    w.capture("b", &CaptureSpec::default());
    let _app = serve(&w, &w.b);
    let to = host_port(w.ip(&w.b), APP);
    w.node_iptables(&format!(
        "-t nat -A PREROUTING -p tcp --dport 8888 -j DNAT --to-destination {to}"
    ));
    assert_eq!(
        talk(&w.far.ns, (w.node_ip(), 8888).into()).unwrap(),
        w.ip(&w.far)
    );
    w.saw(&[w.entering(&w.b, w.app(&w.b))]);
}

/// A segment outside of the window is no part of the connection for connection tracking; were it delivered as it is, the
/// kernel would know no such connection and reset it.
fn row_34_stray_segments_do_not_reset(mut w: World) {
    w.capture_all();
    let _app = serve(&w, &w.b);
    let to = w.app(&w.b);
    // From outside of the mesh into it, and out of it.
    for (from, ns) in [(w.node_ip(), &w.node), (w.ip(&w.a), &w.a.ns)] {
        let mut chat = Chat::open(ns, to).unwrap();
        let mut intruder = raw::Intruder::new(ns, (from, chat.local_port()).into(), to).unwrap();
        chat.echo(100).unwrap();
        intruder.stray_segment().unwrap();
        chat.echo(100).unwrap();
        chat.finish().unwrap();
    }
}

pub(crate) fn row_35_flush_by_the_app_is_found(mut w: World) {
    let spec = CaptureSpec::default();
    w.capture("b", &spec);
    verify(&w.b.ns, &spec, &w.backend).unwrap();
    let base = if w.family == Family::V4 {
        "iptables"
    } else {
        "ip6tables"
    };
    let program = format!("{base}-{}", w.flavour);
    for flush in [
        &["-t", "nat", "-F"][..],
        &["-t", "raw", "-F"],
        &["-t", "nat", "-I", "PREROUTING", "-j", "ACCEPT"],
    ] {
        run(&w.b.ns, &program, flush);
        let drift = verify(&w.b.ns, &spec, &w.backend).unwrap_err();
        assert!(
            matches!(&drift, Drift::Changed(list) if list.iter().all(|d| d.contains(&w.family.to_string()))),
            "{drift}"
        );
        assert!(capture(&w.b.ns, &spec, &w.backend).unwrap().changed);
        verify(&w.b.ns, &spec, &w.backend).unwrap();
    }
}

/// The tunnel's port is reached directly; the ports of the redirection end in a refusal, not in a loop.
pub(crate) fn own_ports_and_the_tunnel_port(mut w: World) {
    w.capture("b", &CaptureSpec::default());
    let tunnel = SocketAddr::new(w.ip(&w.b), 15008);
    let _tunnel = Server::start(&w.b.ns, tunnel);
    assert_eq!(talk(&w.a.ns, tunnel).unwrap(), w.ip(&w.a));
    w.saw(&[]);
    for port in [15001, 15006] {
        let own = SocketAddr::new(w.ip(&w.b), port);
        assert!(talk(&w.a.ns, own).is_err());
        w.saw(&[w.entering(&w.b, own)]);
    }
}
