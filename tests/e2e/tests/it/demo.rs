//! `weft demo` as a newcomer runs it: it ends by itself, tells the truth in JSON, and leaves nothing behind.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Rooms of one process; their names begin with its number.
fn rooms(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&format!("weft-lab-{pid}-")))
        .collect()
}

#[test]
fn the_shop_runs_every_edge_and_nothing_is_left() {
    let binaries = std::env::var("WEFT_BIN_DIR").expect("WEFT_BIN_DIR: `cargo xtask test` sets it");
    let demo = Command::new(format!("{binaries}/weft"))
        .args(["demo", "--duration", "10s", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = demo.id();
    let output = demo.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let report: Value =
        serde_json::from_slice(&output.stdout).expect("JSON alone on standard output");
    let services = report["services"].as_array().unwrap();
    assert!(services.len() >= 8, "{report}");
    for service in services {
        assert_eq!(service["success"], 1.0, "{service}");
        assert!(service["rps"].as_f64().unwrap() > 0.0, "{service}");
    }
    assert!(!report["edges"].as_array().unwrap().is_empty());
    assert!(rooms(pid).is_empty(), "{:?}", rooms(pid));
}
