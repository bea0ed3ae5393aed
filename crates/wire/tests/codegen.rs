//! The committed code is what the generator makes of table.proto. `UPDATE_GOLDEN=1` rewrites it: change the .proto, run
//! this, then change the code that uses it (this test needs a library that compiles).

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

use std::path::Path;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = protox::compile(["weft/table/v1/table.proto"], [root.join("proto")]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(dir.path())
        .emit_rerun_if_changed(false)
        .compile_fds(proto)
        .unwrap();
    let made = std::fs::read_to_string(dir.path().join("weft.table.v1.rs")).unwrap();
    let committed = root.join("src/gen/weft.table.v1.rs");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&committed, &made).unwrap();
    }
    let same = std::fs::read_to_string(&committed).unwrap_or_default() == made;
    assert!(
        same,
        "src/gen is stale: run `UPDATE_GOLDEN=1 cargo test -p weft-wire --test codegen`"
    );
}
