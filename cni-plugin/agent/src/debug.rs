//! The page `/debug/pods`: every pod that the agent holds or should hold, how far it is, and what keeps it.

use serde::Serialize;

use crate::pods::Pods;
use crate::pods::plan::Stage;

#[derive(Serialize)]
struct Row {
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// The page as JSON; pods that are at rest outside the mesh are left out.
pub(crate) fn pods(pods: &Pods) -> String {
    let bound = pods.bound();
    let rows: Vec<Row> = pods
        .all()
        .iter()
        .filter(|cell| cell.shown().is_some() || cell.trouble().is_some())
        .map(|cell| Row {
            uid: cell.uid().to_owned(),
            pod: bound
                .pods
                .get(cell.uid())
                .map(|pod| pod.workload.pod.to_string()),
            state: state(cell.shown()),
            netns: cell.home().map(|home| home.netns.id().ino),
            trouble: cell.trouble().map(|trouble| trouble.text),
        })
        .collect();
    serde_json::to_string_pretty(&rows).unwrap_or_default()
}

/// The word for a stage, the same as the metric's.
pub(crate) fn state(stage: Option<Stage>) -> &'static str {
    match stage {
        None => "outside",
        Some(Stage::Found) => "found",
        Some(Stage::Offered) => "offered",
        Some(Stage::Captured { .. }) => "captured",
        Some(Stage::Releasing { .. }) => "releasing",
    }
}
