//! The plugin's calls on `cni.sock`: one request, one answer. Requests run side by side; what must not overlap is kept
//! apart by the pods' own locks.

mod add;
mod check;
mod del;
mod gc;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weft_netns::Netns;
use weft_wire::cni::{Answer, MAX_PACKET, Request};

use crate::metrics::Metrics;
use crate::packets::{Listener, Packets};
use crate::pods::Pods;

/// A plugin that connects sends its request within this time.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
/// Calls served at once; further ones wait in the socket's queue.
const MAX_CALLS: usize = 256;

/// The namespace does not own the addresses that the previous plugin reported.
const CODE_NOT_OWNER: u32 = 101;
/// The application listens on a port of the mesh.
const CODE_PORT_TAKEN: u32 = 102;
/// The proxy refuses the pod.
const CODE_REFUSED: u32 = 103;
/// The packet rules could not be made.
const CODE_RULES: u32 = 104;
/// CHECK found the capture changed.
const CODE_DRIFT: u32 = 105;
/// The kernel or the disk refused something else.
const CODE_SYSTEM: u32 = 106;

/// Serves the plugin until `shutdown`.
pub(crate) async fn serve(
    listener: Listener,
    pods: Rc<Pods>,
    metrics: Rc<Metrics>,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CALLS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (packets, _) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let (pods, metrics) = (Rc::clone(&pods), Rc::clone(&metrics));
        tokio::task::spawn_local(async move {
            let _slot = slot;
            if let Err(error) = call(&packets, &pods, &metrics).await {
                tracing::warn!(%error, "a call of the plugin failed");
            }
        });
    }
}

async fn call(packets: &Packets, pods: &Rc<Pods>, metrics: &Metrics) -> io::Result<()> {
    let received = tokio::time::timeout(REQUEST_DEADLINE, packets.recv(MAX_PACKET)).await;
    let Some((bytes, fds)) = received.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
    else {
        return Ok(());
    };
    let begun = Instant::now();
    let request: Request = serde_json::from_slice(&bytes)?;
    let netns = fds.into_iter().next().map(Netns::from_fd).transpose()?;
    let verb = match &request {
        Request::Add(_) => "add",
        Request::Check(_) => "check",
        Request::Del { .. } => "del",
        Request::Gc { .. } => "gc",
    };
    let answer = match (request, netns) {
        (Request::Add(attachment), Some(netns)) => {
            add::add(pods, attachment, Arc::new(netns)).await
        }
        (Request::Check(attachment), Some(netns)) => {
            check::check(pods, &attachment, netns.id()).await
        }
        (
            Request::Del {
                container_id,
                ifname,
            },
            _,
        ) => del::del(pods, container_id, ifname),
        (Request::Gc { network, valid }, _) => gc::gc(pods, &network, &valid).await,
        (Request::Add(_) | Request::Check(_), None) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{verb} came without a namespace"),
            ));
        }
    };
    metrics.called(verb, &answer, begun.elapsed());
    packets.send(&serde_json::to_vec(&answer)?, &[]).await
}

fn failed(code: u32, reason: impl Into<String>, details: impl Into<String>) -> Answer {
    Answer::Failed {
        code,
        reason: reason.into(),
        details: details.into(),
    }
}
