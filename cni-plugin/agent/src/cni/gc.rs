//! GC: pods whose attachment the runtime no longer knows are gone. An empty list may also come from a runtime that has
//! just lost its memory, so then only those are let go whose namespace is gone too.

use std::rc::Rc;

use weft_wire::cni::{Answer, Key};

use crate::pods::Pods;

/// Answers GC at once; the rest is done under the pods' locks.
pub(super) async fn gc(pods: &Rc<Pods>, valid: &[Key]) -> Answer {
    if valid.is_empty() {
        pods.bury_the_dead().await;
    }
    for cell in pods.all() {
        let Some(home) = cell.home() else { continue };
        // A pod that was found by a scan has no attachment that we know; the sweep looks after it.
        let Some(own) = &home.attachment else {
            continue;
        };
        let known = valid
            .iter()
            .any(|key| key.container_id == own.container_id && key.ifname == own.ifname);
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
