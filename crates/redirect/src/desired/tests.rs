//! Golden files: for each case and family the whole transaction that captures an empty pod. `UPDATE_GOLDEN=1` rewrites
//! them, so that a change of rules is reviewed as a change of text.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use weft_model::capture::PortRange;

use super::*;
use crate::iptables::{self, Current};

fn spec(change: impl FnOnce(&mut CaptureSpec)) -> CaptureSpec {
    let mut spec = CaptureSpec::default();
    change(&mut spec);
    spec
}

fn nets(given: &[&str]) -> Vec<IpNet> {
    given.iter().map(|text| text.parse().unwrap()).collect()
}

fn cases() -> Vec<(&'static str, CaptureSpec)> {
    let range = |first, last| PortRange { first, last };
    vec![
        ("plain", CaptureSpec::default()),
        (
            "exclusions",
            spec(|s| {
                s.exclude_outbound_ports = vec![PortRange::one(3306), range(9000, 9100)];
                s.exclude_outbound_cidrs =
                    nets(&["10.96.0.10/32", "192.168.7.9/16", "fd00:10:96::/112"]);
                s.exclude_inbound_ports = vec![PortRange::one(9090)];
            }),
        ),
        (
            "many-ports",
            spec(|s| {
                s.exclude_outbound_ports = (0..20).map(|i| PortRange::one(2000 + 2 * i)).collect()
            }),
        ),
        (
            "include-only",
            spec(|s| s.include_outbound_cidrs = nets(&["10.0.0.0/8", "172.16.0.0/12"])),
        ),
        (
            "include-everything",
            spec(|s| s.include_outbound_cidrs = nets(&["0.0.0.0/0", "::/0"])),
        ),
        (
            "probes",
            spec(|s| {
                s.node_ips = vec![
                    "10.244.1.1".parse().unwrap(),
                    "fd00:10:244:1::1".parse().unwrap(),
                ];
                s.probe_ports = vec![8081, 8080];
            }),
        ),
        (
            "probe-ports-without-node",
            spec(|s| s.probe_ports = vec![8080]),
        ),
    ]
}

#[test]
fn rules_are_those_of_the_golden_files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let plain = desired(&CaptureSpec::default(), true).unwrap();
    let mut all = vec![("by-connection", plain.by_connection())];
    for (name, spec) in cases() {
        all.push((name, desired(&spec, true).unwrap()));
    }
    for (name, desired) in all {
        for rules in desired.families {
            let path = dir.join(format!(
                "{name}.{}.rules",
                rules.family.to_string().to_lowercase()
            ));
            let text = iptables::capture(&Current::default(), &rules).unwrap();
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let golden = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                text,
                golden,
                "{} (UPDATE_GOLDEN=1 rewrites it)",
                path.display()
            );
        }
    }
}

#[test]
fn a_pod_without_ipv6_gets_no_ipv6_rules() {
    let families = desired(&CaptureSpec::default(), false).unwrap().families;
    assert_eq!(
        families.iter().map(|f| f.family).collect::<Vec<_>>(),
        [Family::V4]
    );
}

#[test]
fn a_mapped_node_address_counts_as_ipv4() {
    let spec = spec(|s| {
        s.node_ips = vec!["::ffff:10.244.1.1".parse().unwrap()];
        s.probe_ports = vec![8080];
    });
    let families = desired(&spec, true).unwrap().families;
    let probes = |i: usize| {
        families[i]
            .chains
            .iter()
            .flat_map(|c| &c.rules)
            .filter(|r| r.contains("-s "))
            .count()
    };
    assert_eq!((probes(0), probes(1)), (1, 0));
}

#[test]
fn lists_beyond_their_limit_name_the_field() {
    let spec =
        spec(|s| s.include_outbound_cidrs = vec!["10.0.0.0/8".parse().unwrap(); MAX_LIST + 1]);
    let error = desired(&spec, true).unwrap_err().to_string();
    assert!(
        error.contains("include_outbound_cidrs") && error.contains("256"),
        "{error}"
    );
}

prop_compose! {
    fn any_spec()(
        ports in proptest::collection::vec((1u16..=u16::MAX, 0u16..100), 0..30),
        nets in proptest::collection::vec((any::<bool>(), any::<u128>(), 0u8..=32), 0..10),
        seed in any::<u64>(),
    ) -> (CaptureSpec, u64) {
        let exclude_outbound_cidrs = nets.iter().map(|&(v4, bits, prefix)| {
            if v4 {
                IpNet::new(IpAddr::V4((bits as u32).into()), prefix).unwrap()
            } else {
                IpNet::new(IpAddr::V6(bits.into()), prefix * 4).unwrap()
            }
        }).collect();
        let exclude_outbound_ports =
            ports.iter().map(|&(first, more)| PortRange { first, last: first.saturating_add(more) }).collect();
        (CaptureSpec { exclude_outbound_ports, exclude_outbound_cidrs, ..CaptureSpec::default() }, seed)
    }
}

proptest! {
    /// The order in which a user lists things, and how often, never shows in the rules.
    #[test]
    fn order_and_repetition_do_not_matter((given, seed) in any_spec()) {
        let mut other = given.clone();
        let turn = |n: usize| if n == 0 { 0 } else { (seed as usize) % n };
        let (p, c) = (turn(other.exclude_outbound_ports.len()), turn(other.exclude_outbound_cidrs.len()));
        other.exclude_outbound_ports.rotate_left(p);
        other.exclude_outbound_ports.extend_from_within(..);
        other.exclude_outbound_cidrs.rotate_left(c);
        other.exclude_outbound_cidrs.extend_from_within(..);
        prop_assert_eq!(desired(&given, true), desired(&other, true));
    }

    /// A port is excluded by the rules exactly when a listed range contains it.
    #[test]
    fn rules_cover_the_listed_ports_exactly((given, _) in any_spec(), probe in 1u16..=u16::MAX) {
        let rules = desired(&given, false).unwrap();
        let chain = rules.families[0].chains.iter().find(|c| c.name == CHAIN_OUT).unwrap();
        let covered = chain.rules.iter().filter_map(|r| r.split("--dports ").nth(1)).any(|rest| {
            rest.split(' ').next().unwrap().split(',').any(|part| {
                let (first, last) = part.split_once(':').unwrap_or((part, part));
                (first.parse().unwrap()..=last.parse::<u16>().unwrap()).contains(&probe)
            })
        });
        prop_assert_eq!(covered, given.exclude_outbound_ports.iter().any(|r| r.contains(probe)));
    }

    /// What capture writes, read back, needs no second write; release leaves only what was there before.
    #[test]
    fn capture_settles_and_release_undoes((given, _) in any_spec(), v6 in any::<bool>(), tracked in any::<bool>()) {
        let plain = desired(&given, v6).unwrap();
        let wanted = if tracked { plain.clone().by_connection() } else { plain.clone() };
        for (rules, plain) in wanted.families.into_iter().zip(plain.families) {
            let foreign = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:APP - [0:0]\n-A OUTPUT -j APP\nCOMMIT\n";
            let before = Current::parse(foreign);
            let after = iptables::tests::execute(&before, &iptables::capture(&before, &rules).unwrap());
            prop_assert_eq!(iptables::capture(&after, &rules), None);
            prop_assert_eq!(after.phase(), Phase::Captured);
            prop_assert_eq!(after.way_back() == Some(WayBack::ByConnection), tracked);
            // From one way back to the other, nothing of the first is left.
            if let Some(change) = iptables::capture(&after, &plain) {
                let changed = iptables::tests::execute(&after, &change);
                prop_assert_eq!(changed.way_back(), Some(WayBack::BySocket));
                prop_assert_eq!(iptables::capture(&changed, &plain), None);
            }
            let releasing = iptables::tests::execute(&after, &iptables::releasing(&after).unwrap());
            prop_assert_eq!(releasing.phase(), Phase::Releasing);
            let again = iptables::tests::execute(&releasing, &iptables::capture(&releasing, &rules).unwrap());
            prop_assert_eq!(&again, &after);
            let released = iptables::tests::execute(&releasing, &iptables::release(&releasing).unwrap());
            prop_assert_eq!(released.phase(), Phase::Released);
            prop_assert_eq!(iptables::tests::rules_of(&released), iptables::tests::rules_of(&before));
        }
    }
}
