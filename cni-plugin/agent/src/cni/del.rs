//! DEL: the sandbox that the runtime names is gone. A pod that has moved into a newer sandbox is not touched. The answer
//! does not wait until the rules are out of the namespace (the kernel takes tens of milliseconds for that): the runtime
//! takes the namespace away next, the pod's record keeps what is to be done, and a later ADD waits for the pod's lock.

use std::rc::Rc;

use weft_wire::cni::{Answer, Key};

use crate::pods::Pods;

/// Answers DEL; it has nothing to fail with.
pub(super) fn del(pods: &Rc<Pods>, container_id: String, ifname: String) -> Answer {
    let key = Key {
        container_id,
        ifname,
    };
    if let Some(cell) = pods.by_attachment(&key)
        && let Some(home) = cell.home()
    {
        cell.move_out(home.netns.id());
        let pods = Rc::clone(pods);
        tokio::task::spawn_local(async move { pods.drive(&cell).await });
    }
    Answer::Ok { captured: false }
}
