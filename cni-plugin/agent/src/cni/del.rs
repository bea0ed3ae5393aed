//! DEL: the sandbox that the runtime names is gone. A pod that has moved into a newer sandbox is not touched.

use weft_wire::cni::Answer;

use crate::pods::{Pods, record};

/// Answers DEL; it has nothing to fail with.
pub(super) async fn del(pods: &Pods, container_id: String, ifname: String) -> Answer {
    let attachment = record::Attachment {
        container_id,
        ifname,
    };
    if let Some(cell) = pods.by_attachment(&attachment)
        && let Some(home) = cell.home()
    {
        cell.move_out(home.netns.id());
        pods.drive(&cell).await;
    }
    Answer::Ok { captured: false }
}
