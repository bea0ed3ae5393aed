//! Looks after captured pods: an application with the right to may flush its packet rules, and its traffic would then
//! bypass the mesh without a sound. A few pods are checked at a time, so that all of a node are in five minutes at next
//! to no cost; what was changed is made again and counted.

use std::rc::Rc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::plan::Stage;
use super::{PodCell, Pods};
use crate::metrics::Metrics;

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(10);
/// Rounds in which every pod's turn comes: five minutes.
const ROUNDS: usize = 30;

/// Runs until `shutdown`.
pub(crate) async fn run(pods: Rc<Pods>, metrics: Rc<Metrics>, shutdown: CancellationToken) {
    let mut last = String::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return,
        }
        let captured = |cell: &Rc<PodCell>| matches!(cell.shown(), Some(Stage::Captured { .. }));
        let mut due: Vec<Rc<PodCell>> = pods.all().into_iter().filter(captured).collect();
        // After the one where the last round ended, and round again.
        let start = due.iter().position(|cell| *cell.uid > *last).unwrap_or(0);
        due.rotate_left(start);
        due.truncate(due.len().div_ceil(ROUNDS));
        for cell in due {
            last.clone_from(&cell.uid);
            if let Some(found) = pods.drift(&cell).await {
                tracing::warn!(
                    uid = cell.uid,
                    found,
                    "the capture of a pod was changed inside it; making it again"
                );
                metrics.repaired();
                pods.doubt(&cell).await;
                pods.drive(&cell).await;
            }
        }
    }
}

impl Pods {
    /// How the pod's rules differ from what they should be; none also when that cannot be told now.
    async fn drift(&self, cell: &PodCell) -> Option<String> {
        let pod = self.bound().pods.get(&cell.uid).cloned()?;
        let home = cell.home()?;
        let verified = self.kernel.verify(home.netns, pod.capture.clone()).await;
        // Meanwhile it may have been released, ended, or given other exclusions; then the difference means nothing.
        let same = self
            .bound()
            .pods
            .get(&cell.uid)
            .is_some_and(|now| now.capture == pod.capture && now.mode == pod.mode);
        let captured =
            same && cell.home().is_some() && matches!(cell.shown(), Some(Stage::Captured { .. }));
        match verified {
            Ok(Err(drift @ weft_redirect::Drift::Changed(_))) if captured => {
                Some(drift.to_string())
            }
            _ => None,
        }
    }
}
