//! One test, one room, one lab.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use weft_lab::isolate::{Side, enter_test};
use weft_lab::{Lab, LabConfig};

/// Generous: a loaded machine starts a dozen pods in it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `body` with a lab of two nodes without the mesh; `test` is the test's own path.
pub(crate) fn lab<F: Future<Output = ()>>(
    test: &str,
    manifests: &str,
    body: impl FnOnce(Lab) -> F,
) {
    let room = match enter_test(test).expect("needs root") {
        Side::Outside(code) => return assert_eq!(code, 0, "the test failed inside its room"),
        Side::Inside(room) => room,
    };
    let user = room.directory().join("manifests");
    std::fs::create_dir_all(&user).unwrap();
    std::fs::write(user.join("all.yaml"), manifests).unwrap();
    let sample = Path::new(env!("CARGO_BIN_EXE_weft-sample"));
    let mut config = LabConfig::new(room.directory(), sample.parent().unwrap(), &user);
    config.mesh = false;
    config.report = std::sync::Arc::new(|event| eprintln!("{event:?}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        body(Lab::up(config).await.unwrap()).await;
    });
}
