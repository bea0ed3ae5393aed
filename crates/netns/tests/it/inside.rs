//! Questions to a namespace.

use std::io::ErrorKind;
use std::net::IpAddr;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use weft_netns::{addresses, has_ipv6, read_sysctl, write_sysctl};

use crate::{ip, scratch};

#[test]
fn addresses_are_the_namespaces_own_without_loopback() {
    let ns = scratch();
    assert_eq!(addresses(&ns).unwrap(), Vec::<IpAddr>::new());
    ip(
        &ns,
        &["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
    );
    ip(&ns, &["address", "add", "10.9.8.7/24", "dev", "d0"]);
    ip(
        &ns,
        &["address", "add", "fd00:9::7/64", "dev", "d0", "nodad"],
    );
    let want: Vec<IpAddr> = vec!["10.9.8.7".parse().unwrap(), "fd00:9::7".parse().unwrap()];
    assert_eq!(addresses(&ns).unwrap(), want);
}

#[test]
fn ipv6_is_absent_only_when_switched_off() {
    let ns = scratch();
    assert!(has_ipv6(&ns).unwrap());
    write_sysctl(&ns, "net.ipv6.conf.all.disable_ipv6", "1").unwrap();
    assert!(!has_ipv6(&ns).unwrap());
    assert!(has_ipv6(&scratch()).unwrap());
}

#[test]
fn one_interface_with_ipv6_is_enough() {
    let ns = scratch();
    write_sysctl(&ns, "net.ipv6.conf.all.disable_ipv6", "1").unwrap();
    ip(
        &ns,
        &["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
    );
    write_sysctl(&ns, "net.ipv6.conf.d0.disable_ipv6", "0").unwrap();
    ip(
        &ns,
        &["address", "add", "fd00:9::7/64", "dev", "d0", "nodad"],
    );
    assert!(has_ipv6(&ns).unwrap());
}

#[test]
fn a_sysctl_is_set_in_that_namespace_only() {
    let (ns, other) = (scratch(), scratch());
    let key = "net.ipv4.tcp_fwmark_accept";
    write_sysctl(&ns, key, "1").unwrap();
    assert_eq!(read_sysctl(&ns, key).unwrap(), "1");
    assert_eq!(read_sysctl(&other, key).unwrap(), "0");
    let unknown = write_sysctl(&ns, "net.ipv4.no_such_key", "1").unwrap_err();
    assert!(
        unknown.to_string().contains("net.ipv4.no_such_key"),
        "{unknown}"
    );
    assert_eq!(
        write_sysctl(&ns, "kernel.hostname", "x")
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
}

/// As in a container without privileges: its /proc/sys is read-only, the pods' settings must be made all the same.
#[test]
fn a_read_only_proc_sys_is_no_obstacle() {
    const KEY: &str = "net.ipv4.tcp_fwmark_accept";
    let ns = scratch();
    let confined = std::thread::spawn(move || {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let sys = "/proc/sys";
        mount(Some(sys), sys, none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, sys, none, read_only, none).unwrap();
        let path = "/proc/sys/net/ipv4/tcp_fwmark_accept";
        let direct = ns.run(|| std::fs::write(path, "1")).unwrap();
        assert_eq!(direct.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        let home = weft_netns::Netns::current().unwrap();
        let before = read_sysctl(&home, KEY).unwrap();
        write_sysctl(&ns, KEY, "1").unwrap();
        assert_eq!(read_sysctl(&ns, KEY).unwrap(), "1");
        assert_eq!(read_sysctl(&home, KEY).unwrap(), before);
    });
    confined.join().unwrap();
}
