//! GC: pods whose attachment to a network the runtime no longer knows are gone. An empty list may also come from a runtime
//! that has just lost its memory, so then only those are let go whose namespace is gone too.

use std::rc::Rc;

use weft_wire::cni::{Answer, Key};

use crate::pods::Pods;

/// Answers GC at once; the rest is done under the pods' locks.
pub(super) async fn gc(pods: &Rc<Pods>, network: &str, valid: &[Key]) -> Answer {
    if valid.is_empty() {
        pods.bury_the_dead().await;
    }
    for cell in pods.all() {
        let Some(home) = cell.home() else { continue };
        // A pod that was found by a scan has no attachment that we know; the sweep looks after it. Of another network's
        // attachments this list says nothing.
        let attachment = home.attachment.as_ref();
        let Some(own) = attachment.filter(|own| own.network == network) else {
            continue;
        };
        let known = valid.iter().any(|key| own.is(key));
        if !known && !valid.is_empty() {
            tracing::info!(
                uid = cell.uid(),
                container = own.container_id,
                "the runtime no longer knows the pod"
            );
            cell.move_out(home.netns.id());
        }
    }
    for cell in pods.all().into_iter().filter(|cell| cell.home().is_none()) {
        let pods = Rc::clone(pods);
        tokio::task::spawn_local(async move { pods.drive(&cell).await });
    }
    Answer::Ok { captured: false }
}
