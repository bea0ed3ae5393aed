//! Listeners and upstream sockets. The original destination needs packet rules: weft-redirect's tests cover it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, SockRef, Socket, Type};
use weft_netns::{
    Netns, Role, connect_upstream, listen_in, original_destination, set_nonblocking,
    upstream_socket, write_sysctl,
};

use crate::{ip, of_socket, scratch};

/// A namespace where the marks lead to loopback, as the packet rules arrange it.
fn pod() -> Netns {
    let ns = scratch();
    for family in ["-4", "-6"] {
        ip(
            &ns,
            &[
                family,
                "rule",
                "add",
                "fwmark",
                "0x5e8/0xfff",
                "lookup",
                "133",
            ],
        );
        ip(
            &ns,
            &[
                family, "route", "add", "local", "default", "dev", "lo", "table", "133",
            ],
        );
    }
    write_sysctl(&ns, "net.ipv4.tcp_fwmark_accept", "1").unwrap();
    ns
}

fn connect(socket: OwnedFd, to: SocketAddr) -> TcpStream {
    set_nonblocking(&socket, false).unwrap();
    let socket = Socket::from(socket);
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn the_app_sees_the_clients_address_in_both_families() {
    let ns = pod();
    for (app, client) in [
        ("127.0.0.1:0", "192.0.2.9"),
        ("[::1]:0", "2001:db8::9"),
        ("127.0.0.1:0", "::ffff:192.0.2.9"),
    ] {
        let client: IpAddr = client.parse().unwrap();
        let listener = ns.run(|| TcpListener::bind(app)).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let socket = upstream_socket(&ns, address, &Role::ToApp { source: client }).unwrap();
        let mut ours = connect(socket, address);
        let (mut theirs, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), client.to_canonical());
        ours.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
    }
}

/// Waits for a connection that has begun.
fn begun(socket: OwnedFd) -> TcpStream {
    set_nonblocking(&socket, false).unwrap();
    let mut stream = TcpStream::from(socket);
    // A write waits for the connection.
    stream.write_all(b"ping").unwrap();
    stream
}

/// The kernel gives clients ports up to 60999 unless told otherwise, so ours are above.
#[test]
fn borrowed_addresses_come_with_ports_that_clients_do_not_have() {
    let ns = pod();
    for (app, client) in [("127.0.0.1:0", "192.0.2.9"), ("[::1]:0", "2001:db8::9")] {
        let client: IpAddr = client.parse().unwrap();
        let listener = ns.run(|| TcpListener::bind(app)).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let role = Role::ToApp { source: client };
        let ours: Vec<_> = (0..50)
            .map(|_| begun(connect_upstream(&ns, address, &role).unwrap()))
            .collect();
        let mut ports: Vec<u16> = Vec::new();
        for _ in &ours {
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), client);
            assert!(peer.port() >= 61000, "{peer}");
            ports.push(peer.port());
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}

#[test]
fn when_all_those_ports_are_taken_the_kernel_chooses() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(soft.max(10_000)), hard).unwrap();
    let ns = pod();
    let client: IpAddr = "192.0.2.9".parse().unwrap();
    let taken: Vec<Socket> = (61000..=65535)
        .map(|port| {
            let socket = ns
                .run(|| Socket::new(Domain::IPV4, Type::STREAM, None))
                .unwrap()
                .unwrap();
            socket.set_ip_transparent_v4(true).unwrap();
            socket.bind(&SocketAddr::new(client, port).into()).unwrap();
            socket
        })
        .collect();
    let listener = ns
        .run(|| TcpListener::bind("127.0.0.1:0"))
        .unwrap()
        .unwrap();
    let address = listener.local_addr().unwrap();
    let role = Role::ToApp { source: client };
    let _ours = begun(connect_upstream(&ns, address, &role).unwrap());
    assert!(listener.accept().unwrap().1.port() < 61000);
    drop(taken);
}

#[test]
fn a_connect_that_fails_at_once_says_so() {
    let ns = scratch();
    let error =
        connect_upstream(&ns, "198.51.100.1:80".parse().unwrap(), &Role::ToWire).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn sockets_carry_the_mark_of_their_role_and_do_not_block() {
    let ns = pod();
    let dest: SocketAddr = "198.51.100.1:80".parse().unwrap();
    for (role, mark) in [
        (Role::ToWire, 0x5e7),
        (
            Role::ToApp {
                source: "192.0.2.9".parse().unwrap(),
            },
            0x5e8,
        ),
    ] {
        let socket = upstream_socket(&ns, dest, &role).unwrap();
        let view = SockRef::from(&socket);
        assert_eq!(
            (
                view.mark().unwrap(),
                view.tcp_nodelay().unwrap(),
                view.nonblocking().unwrap()
            ),
            (mark, true, true)
        );
        assert_eq!(of_socket(socket.as_fd()).id(), ns.id());
    }
}

#[test]
fn families_that_differ_are_refused_with_both_addresses() {
    let ns = pod();
    let role = Role::ToApp {
        source: "2001:db8::9".parse().unwrap(),
    };
    let error = upstream_socket(&ns, "198.51.100.1:80".parse().unwrap(), &role).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("2001:db8::9") && error.to_string().contains("198.51.100.1:80"),
        "{error}"
    );
}

#[test]
fn a_dual_stack_listener_takes_both_families_and_a_plain_one_v4() {
    let ns = scratch();
    for (port, v6) in [(15001, true), (15006, false)] {
        let listener: TcpListener = listen_in(&ns, port, v6, 16).unwrap().into();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        ns.run(|| TcpStream::connect(("127.0.0.1", port)))
            .unwrap()
            .unwrap();
        let over_v6 = ns.run(|| TcpStream::connect(("::1", port))).unwrap();
        assert_eq!(over_v6.is_ok(), v6);
        assert!(listener.accept().is_ok());
    }
}

#[test]
fn a_dual_stack_listener_opens_where_ipv6_is_switched_off() {
    let ns = scratch();
    write_sysctl(&ns, "net.ipv6.conf.all.disable_ipv6", "1").unwrap();
    listen_in(&ns, 15001, true, 16).unwrap();
}

#[test]
fn a_port_that_the_app_took_is_said_clearly() {
    let ns = scratch();
    let _app = ns
        .run(|| TcpListener::bind("0.0.0.0:15001"))
        .unwrap()
        .unwrap();
    let error = listen_in(&ns, 15001, true, 16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains("port 15001") && error.to_string().contains("application"),
        "{error}"
    );
}

#[test]
fn a_connection_that_was_not_redirected_has_no_original_destination() {
    let ns = scratch();
    let listener = ns
        .run(|| TcpListener::bind("127.0.0.1:0"))
        .unwrap()
        .unwrap();
    let address = listener.local_addr().unwrap();
    let _client = ns.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert!(original_destination(&accepted).is_err());
}
