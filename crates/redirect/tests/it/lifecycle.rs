//! Rules over a pod's life: applied once, repaired, removed without a trace, never mixed, never half.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weft_model::capture::{CaptureSpec, PortRange};
use weft_netns::{Netns, read_sysctl, write_sysctl};
use weft_redirect::{
    Drift, Error, Flavour, Iptables, Phase, capture, phase, release, releasing, verify,
};

use crate::world::{ip, lock_dir, namespace, run};

/// A word that the complaint must have, and what causes it.
type Disturbance = (&'static str, fn(&Netns));

const FLAVOURS: [Flavour; 2] = [Flavour::Nft, Flavour::Legacy];

/// Everything that capture touches, as text. Chains of the kernel without rules, and counters, are no residue: legacy
/// iptables cannot remove the former.
fn state(ns: &Netns) -> String {
    let mut text = String::new();
    for flavour in FLAVOURS {
        for base in ["iptables", "ip6tables"] {
            for line in run(ns, &format!("{base}-{flavour}-save"), &[]).lines() {
                if !line.starts_with(['#', '*']) && line != "COMMIT" && !line.contains(" ACCEPT [")
                {
                    text += &format!("{base}-{flavour} {line}\n");
                }
            }
        }
    }
    for args in [["-4", "rule"], ["-6", "rule"]] {
        text += &run(ns, "ip", &args);
    }
    for family in ["-4", "-6"] {
        text += &run(ns, "ip", &[family, "route", "show", "table", "all"]);
    }
    let switches = [
        "net.ipv4.tcp_fwmark_accept",
        "net.ipv4.fwmark_reflect",
        "net.ipv6.fwmark_reflect",
        "net.netfilter.nf_conntrack_tcp_be_liberal",
    ];
    text + &switches
        .map(|key| {
            format!(
                "{key}={}
",
                read_sysctl(ns, key).unwrap()
            )
        })
        .concat()
}

fn backend(flavour: Flavour) -> Iptables {
    Iptables::only(flavour, lock_dir())
}

fn spec() -> CaptureSpec {
    CaptureSpec {
        exclude_outbound_ports: vec![
            PortRange::one(3306),
            PortRange {
                first: 9000,
                last: 9010,
            },
        ],
        exclude_outbound_cidrs: ["192.168.0.0/16", "fd00:9::/64", "::/0", "0.0.0.0/0"]
            .map(|n| n.parse().unwrap())
            .to_vec(),
        exclude_inbound_ports: vec![PortRange::one(9090)],
        node_ips: vec![
            "10.244.1.1".parse().unwrap(),
            "fd00:10:244:1::1".parse().unwrap(),
        ],
        probe_ports: vec![8080, 8081],
        ..CaptureSpec::default()
    }
}

#[test]
fn capture_twice_is_once_and_release_leaves_nothing() {
    for flavour in FLAVOURS {
        for spec in [CaptureSpec::default(), spec()] {
            let (ns, backend) = (namespace(), backend(flavour));
            let before = state(&ns);
            assert_eq!(phase(&ns, &backend).unwrap(), Phase::Released);
            assert!(capture(&ns, &spec, &backend).unwrap().changed);
            assert_eq!(phase(&ns, &backend).unwrap(), Phase::Captured);
            verify(&ns, &spec, &backend).unwrap();
            let captured = state(&ns);
            assert!(!capture(&ns, &spec, &backend).unwrap().changed);
            assert_eq!(state(&ns), captured);
            assert!(releasing(&ns, &backend).unwrap().changed);
            assert_eq!(phase(&ns, &backend).unwrap(), Phase::Releasing);
            assert!(!releasing(&ns, &backend).unwrap().changed);
            assert!(release(&ns, &backend).unwrap().changed);
            assert_eq!(state(&ns), before);
            assert!(!release(&ns, &backend).unwrap().changed);
            assert!(!releasing(&ns, &backend).unwrap().changed);
            assert_eq!(state(&ns), before);
        }
    }
}

#[test]
fn another_specification_replaces_the_first() {
    for flavour in FLAVOURS {
        let (ns, backend) = (namespace(), backend(flavour));
        capture(&ns, &spec(), &backend).unwrap();
        assert!(matches!(
            verify(&ns, &CaptureSpec::default(), &backend),
            Err(Drift::Changed(_))
        ));
        assert!(
            capture(&ns, &CaptureSpec::default(), &backend)
                .unwrap()
                .changed
        );
        verify(&ns, &CaptureSpec::default(), &backend).unwrap();
        assert!(!run(&ns, &format!("iptables-{flavour}-save"), &[]).contains("3306"));
    }
}

#[test]
fn the_apps_own_rules_stay() {
    for flavour in FLAVOURS {
        let (ns, backend) = (namespace(), backend(flavour));
        for base in ["iptables", "ip6tables"] {
            let program = format!("{base}-{flavour}");
            run(&ns, &program, &["-t", "nat", "-N", "APP"]);
            run(
                &ns,
                &program,
                &[
                    "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "81", "-j", "APP",
                ],
            );
            run(
                &ns,
                &program,
                &[
                    "-t",
                    "nat",
                    "-A",
                    "APP",
                    "-m",
                    "comment",
                    "--comment",
                    "to WEFT_OUT \"x\"",
                    "-j",
                    "RETURN",
                ],
            );
            run(
                &ns,
                &program,
                &["-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP"],
            );
        }
        let before = state(&ns);
        capture(&ns, &spec(), &backend).unwrap();
        verify(&ns, &spec(), &backend).unwrap();
        let during = state(&ns);
        assert!(
            before
                .lines()
                .filter(|l| l.contains("tables-"))
                .all(|line| during.contains(line))
        );
        release(&ns, &backend).unwrap();
        assert_eq!(state(&ns), before);
    }
}

/// A pod that has rules keeps their flavour, whatever the node prefers; empty chains do not count as rules.
#[test]
fn the_pods_flavour_decides_then_the_nodes() {
    let both = Iptables::probe(lock_dir()).unwrap();
    assert_eq!(both.flavours(), FLAVOURS);
    let (empty, legacy, chains) = (namespace(), namespace(), namespace());
    run(
        &legacy,
        "iptables-legacy",
        &["-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP"],
    );
    run(&chains, "iptables-legacy", &["-t", "nat", "-L"]);
    for (ns, want) in [
        (&empty, Flavour::Nft),
        (&legacy, Flavour::Legacy),
        (&chains, Flavour::Nft),
    ] {
        assert_eq!(capture(ns, &spec(), &both).unwrap().flavour, want);
        // Our own rules decide from then on.
        assert_eq!(
            capture(ns, &CaptureSpec::default(), &both).unwrap().flavour,
            want
        );
        verify(ns, &CaptureSpec::default(), &both).unwrap();
    }
    assert!(matches!(
        capture(&legacy, &spec(), &backend(Flavour::Nft)),
        Err(Error::Unusable(Flavour::Legacy))
    ));
    // An agent that has lost the flavour of a captured pod does not add the other one to it.
    let during = state(&legacy);
    assert!(release(&legacy, &backend(Flavour::Nft)).is_err());
    assert_eq!(state(&legacy), during);
    assert_eq!(release(&legacy, &both).unwrap().flavour, Flavour::Legacy);
    assert!(state(&legacy).contains("--dport 9"));
}

#[test]
fn a_pod_without_ipv6_is_captured_in_ipv4_alone() {
    for flavour in FLAVOURS {
        let (ns, backend) = (namespace(), backend(flavour));
        write_sysctl(&ns, "net.ipv6.conf.all.disable_ipv6", "1").unwrap();
        let before = state(&ns);
        capture(&ns, &CaptureSpec::default(), &backend).unwrap();
        verify(&ns, &CaptureSpec::default(), &backend).unwrap();
        assert!(!state(&ns).contains("ip6tables"));
        // When the pod gets IPv6 after all, that is a way around the mesh until capture is repeated.
        write_sysctl(&ns, "net.ipv6.conf.all.disable_ipv6", "0").unwrap();
        let drift = verify(&ns, &CaptureSpec::default(), &backend).unwrap_err();
        assert!(drift.to_string().contains("IPv6"), "{drift}");
        capture(&ns, &CaptureSpec::default(), &backend).unwrap();
        verify(&ns, &CaptureSpec::default(), &backend).unwrap();
        // And when it loses it again, nothing stays behind.
        write_sysctl(&ns, "net.ipv6.conf.all.disable_ipv6", "1").unwrap();
        release(&ns, &backend).unwrap();
        assert_eq!(state(&ns), before);
    }
}

#[test]
fn what_leads_the_answers_back_is_verified_too() {
    let disturbances: [Disturbance; 4] = [
        ("133", |ns| ip(ns, "rule del pref 133\n")),
        ("IPv6", |ns| {
            ip(ns, "route del local ::/0 dev lo table 133\n")
        }),
        ("IPv4", |ns| {
            ip(ns, "rule add pref 7 fwmark 0x5e8/0xfff blackhole\n")
        }),
        ("tcp_fwmark_accept", |ns| {
            write_sysctl(ns, "net.ipv4.tcp_fwmark_accept", "0").unwrap()
        }),
    ];
    for (named, disturb) in disturbances {
        let (ns, backend) = (namespace(), backend(Flavour::Nft));
        capture(&ns, &CaptureSpec::default(), &backend).unwrap();
        disturb(&ns);
        let drift = verify(&ns, &CaptureSpec::default(), &backend).unwrap_err();
        assert!(drift.to_string().contains(named), "{drift}");
    }
}

/// Invalid wishes and failures leave a pod that was not captured as it was.
#[test]
fn a_failed_capture_leaves_nothing() {
    let ns = namespace();
    let before = state(&ns);
    let invalid = CaptureSpec {
        exclude_outbound_ports: vec![PortRange { first: 9, last: 8 }],
        ..CaptureSpec::default()
    };
    let error = capture(&ns, &invalid, &backend(Flavour::Nft)).unwrap_err();
    assert!(
        error.to_string().contains("exclude_outbound_ports"),
        "{error}"
    );
    let unlockable = Iptables::only(Flavour::Legacy, PathBuf::from("/nonexistent/directory"));
    let error = capture(&ns, &CaptureSpec::default(), &unlockable).unwrap_err();
    assert!(
        error.to_string().contains("iptables-legacy-restore"),
        "{error}"
    );
    assert_eq!(state(&ns), before);
}

/// Twenty pods at once, each with a lock of its own for legacy iptables, and no lock file afterwards.
#[test]
fn pods_do_not_get_in_each_others_way() {
    let locks = std::env::temp_dir().join(format!("weft-redirect-locks-{}", std::process::id()));
    std::fs::create_dir_all(&locks).unwrap();
    for flavour in FLAVOURS {
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let (ns, backend) = (namespace(), Iptables::only(flavour, locks.clone()));
                    capture(&ns, &spec(), &backend).unwrap();
                    verify(&ns, &spec(), &backend).unwrap();
                    release(&ns, &backend).unwrap();
                });
            }
        });
    }
    // Fails when a file is left.
    std::fs::remove_dir(&locks).unwrap();
}

/// Whether another process has the file open.
fn is_open_elsewhere(path: &Path) -> bool {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| *process.file_name() != *own)
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|open| open.flatten())
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == path))
}

/// Whoever holds the host's lock of legacy iptables holds up no pod; a pod's own lock is waited for.
#[test]
fn the_hosts_lock_is_not_ours_and_the_pods_own_is_waited_for() {
    let (ns, backend) = (namespace(), backend(Flavour::Legacy));
    let hosts = File::create("/run/xtables.lock").unwrap();
    hosts.lock().unwrap();
    capture(&ns, &spec(), &backend).unwrap();
    releasing(&ns, &backend).unwrap();
    drop(hosts);
    let id = ns.id();
    let path = lock_dir().join(format!("{}-{}.lock", id.dev, id.ino));
    let own = File::create(&path).unwrap();
    own.lock().unwrap();
    std::thread::scope(|scope| {
        let captured = scope.spawn(|| capture(&ns, &spec(), &backend));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_open_elsewhere(&path) {
            assert!(Instant::now() < deadline, "no program meets the lock");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!captured.is_finished());
        drop(own);
        assert!(captured.join().unwrap().unwrap().changed);
    });
    verify(&ns, &spec(), &backend).unwrap();
}
