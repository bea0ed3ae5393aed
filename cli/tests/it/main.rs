//! The command as a user runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: unwrapping is failing"
)]

use std::process::{Command, Output};

fn weft(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn version_is_told_to_people_and_programs() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text(&weft(&["version"]).stdout),
        format!("weft {version}\n")
    );
    let json = weft(&["version", "-o", "json"]).stdout;
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(value["version"], version);
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&weft(&["completion", shell]).stdout);
        assert!(
            ["demo", "analyze", "version"]
                .iter()
                .all(|c| script.contains(c)),
            "{shell}"
        );
    }
}

#[test]
fn the_sample_shop_has_no_findings() {
    let shop = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples/shop");
    let output = weft(&["analyze", shop, "--failure-threshold", "warning"]);
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Needs root: without it the sentence would be another one.
#[test]
fn the_demo_names_what_it_lacks() {
    let empty = tempfile::tempdir().unwrap();
    let directory = empty.path().to_str().unwrap();
    let output = weft(&["demo", "--bin-dir", directory]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains(&format!("{directory}/weft-")), "{words}");
    assert!(words.contains("cargo xtask build"), "{words}");
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let output = weft(&["demo", "--manifests", "/no/such/directory"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/no/such/directory"),
        "{}",
        text(&output.stderr)
    );
}
