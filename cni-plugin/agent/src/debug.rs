//! The page `/debug/pods`: every pod that the agent holds or should hold, how far it is, and what keeps it.

use serde::Serialize;
use weft_model::pod::Mode;
use weft_tables::PodTrouble;

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

/// Pods that the tables want captured and that are not, for the operator; it tells people.
pub(crate) fn troubles(pods: &Pods) -> Vec<PodTrouble> {
    let bound = pods.bound();
    let wanted = |uid: &str| {
        let pod = bound.pods.get(uid);
        pod.is_some_and(|pod| pod.mode == Mode::Enabled)
    };
    pods.all()
        .iter()
        .filter(|cell| wanted(cell.uid()))
        .filter_map(|cell| {
            let trouble = cell.trouble()?;
            Some(PodTrouble {
                uid: cell.uid().to_owned(),
                reason: trouble.kind.as_str().to_owned(),
                message: trouble.text,
            })
        })
        .collect()
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
