//! The matrix where no setting of a pod can be made: connection tracking carries the mark instead. The honest way to be
//! refused is to have no right: these rows run in a user namespace whose `/proc/sys` is read-only, where the kernel does
//! not give out another `/proc` either.

use std::process::Command;

use nix::mount::{MsFlags, mount};
use weft_model::capture::CaptureSpec;
use weft_redirect::{Family, Flavour, RuleBackend, WayBack, release, verify};

use crate::matrix;
use crate::world::World;

/// Tells the second process of the test that it is the one inside.
const INSIDE: &str = "WEFT_TEST_REFUSED";

type Row = (&'static str, fn(World));

/// The rows in which an answer of the app has to find back, and those that look at the rules themselves.
const ROWS: [Row; 15] = [
    ("01", matrix::row_01_pod_on_another_node),
    ("02", matrix::row_02_pod_on_the_same_node),
    (
        "02 one pass",
        matrix::row_02_pod_on_the_same_node_in_one_pass,
    ),
    ("04", matrix::row_04_own_cluster_ip),
    ("05", matrix::row_05_own_pod_ip),
    ("06", matrix::row_06_loopback),
    ("16", matrix::row_16_probes_from_the_node),
    ("18", matrix::row_18_19_server_first_and_half_close),
    ("20", matrix::row_20_small_and_large_mtu),
    ("25", matrix::row_25_any_bound_address),
    (
        "25 loopback",
        matrix::row_25_app_on_loopback_stays_unreachable,
    ),
    ("26", matrix::row_26_source_address_from_everywhere),
    ("32", matrix::row_32_closed_port_fails_fast),
    ("35", matrix::row_35_flush_by_the_app_is_found),
    ("own ports", matrix::own_ports_and_the_tunnel_port),
];

#[test]
fn rows_where_no_setting_can_be_made() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount", "--net"]);
    again.arg(std::env::current_exe().unwrap());
    again.args(["--exact", "refused::rows_where_no_setting_can_be_made"]);
    again
        .args(["--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1");
    let out = again.output().unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

fn inside() {
    let mut worlds = Vec::new();
    for flavour in [Flavour::Nft, Flavour::Legacy] {
        for family in [Family::V4, Family::V6] {
            for row in ROWS {
                worlds.push((row, World::new(flavour, family)));
            }
            worlds.push((("rules", rules), World::new(flavour, family)));
        }
    }
    // The nodes of the worlds needed settings; from here on nobody makes one.
    let none = None::<&str>;
    let sys = "/proc/sys";
    mount(Some(sys), sys, none, MsFlags::MS_BIND, none).unwrap();
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, sys, none, read_only, none).unwrap();
    for ((name, row), world) in worlds {
        eprintln!("{} {} row {name}", world.flavour, world.family);
        row(world);
    }
}

/// The other way back is what was made, is what verify wants to see, and goes without a trace.
fn rules(mut w: World) {
    let spec = CaptureSpec::default();
    w.capture("a", &spec);
    let way = |w: &World| w.backend.way_back(&w.a.ns).unwrap();
    assert_eq!(way(&w), Some(WayBack::ByConnection));
    verify(&w.a.ns, &spec, &w.backend).unwrap();
    assert!(
        !weft_redirect::capture(&w.a.ns, &spec, &w.backend)
            .unwrap()
            .changed
    );
    release(&w.a.ns, &w.backend).unwrap();
    assert_eq!(way(&w), None);
    for base in ["iptables", "ip6tables"] {
        let saved = crate::world::run(&w.a.ns, &format!("{base}-{}-save", w.flavour), &[]);
        assert!(!saved.contains("WEFT"), "{saved}");
    }
}
