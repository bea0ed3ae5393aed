//! One task per connected proxy: greeting, adoption, snapshot, then messages both ways until it is gone.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_netns::{Netns, NetnsId};
use weft_wire::pod::{MAX_PACKET, Pod, ToAgent, ToProxy, VERSION};

use super::peers::PeerId;
use super::{Handover, Parcel};
use crate::packets::{Listener, Packets};
use crate::pods::Pods;
use crate::pods::offer::Offer;

/// A proxy has this long from connecting to the last pod it holds.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// A proxy that does not read for so long is taken for dead.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Most pods that a proxy may hold; far beyond what a node can run.
const MAX_HELD: usize = 10_000;

/// Serves proxies until `shutdown`.
pub(crate) async fn serve(listener: Listener, pods: Rc<Pods>, shutdown: CancellationToken) {
    let mut number = 0;
    loop {
        let (packets, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        number += 1;
        let (id, pods) = (PeerId(number), Rc::clone(&pods));
        tokio::task::spawn_local(async move {
            match proxy(id, peer.pid, Rc::new(packets), &pods).await {
                Ok(()) => tracing::info!(pid = peer.pid, "proxy disconnected"),
                Err(error) => tracing::warn!(pid = peer.pid, %error, "proxy dropped"),
            }
            let handover = &pods.handover;
            handover.queues.borrow_mut().remove(&id);
            handover.peers.borrow_mut().left(id, Instant::now());
            handover.tell();
        });
    }
}

async fn proxy(id: PeerId, pid: i32, packets: Rc<Packets>, pods: &Rc<Pods>) -> io::Result<()> {
    let (started, held) = tokio::time::timeout(GREETING_DEADLINE, greeting(&packets))
        .await
        .map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no whole greeting within {GREETING_DEADLINE:?}"),
            )
        })??;
    // A process in a container of its own has no number here, but knows its beginning itself.
    let start = if started == 0 {
        process_start(pid)
    } else {
        started
    };
    let namespaces: BTreeMap<String, NetnsId> = held
        .iter()
        .map(|offer| (offer.pod.uid.clone(), offer.netns.id()))
        .collect();
    pods.adopt(held).await;
    let (queue, parcels) = mpsc::unbounded_channel();
    // From here to the end of the snapshot nothing is awaited, so no change falls between snapshot and queue.
    snapshot(&pods.handover, id, start, &namespaces, &queue);
    pods.handover.queues.borrow_mut().insert(id, queue);
    pods.handover.tell();
    tokio::select! {
        ended = write(Rc::clone(&packets), parcels) => ended,
        ended = read(id, &packets, &pods.handover) => ended,
    }
}

/// `Hello`, a `Held` per pod, `HeldEnd`: when its process began, and what it holds.
async fn greeting(packets: &Packets) -> io::Result<(u64, Vec<Offer>)> {
    let Some((
        ToAgent::Hello {
            version,
            pid,
            started,
        },
        _,
    )) = receive(packets).await?
    else {
        return Err(unexpected("its first message is not Hello"));
    };
    if version != VERSION {
        return Err(unexpected(&format!(
            "it speaks version {version} of the pod protocol, this agent {VERSION}: upgrade the older one"
        )));
    }
    tracing::info!(pid, "proxy connected");
    let mut held = Vec::new();
    loop {
        match receive(packets).await? {
            Some((ToAgent::Held(pod), fds)) if held.len() < MAX_HELD => match offer(pod, fds) {
                Ok(offer) => held.push(offer),
                Err((uid, error)) => {
                    tracing::warn!(uid, %error, "a pod that the proxy holds cannot be adopted")
                }
            },
            Some((ToAgent::HeldEnd, _)) => return Ok((started, held)),
            Some((other, _)) => {
                return Err(unexpected(&format!("{other:?} is no part of a greeting")));
            }
            None => return Err(unexpected("it hung up during the greeting")),
        }
    }
}

fn offer(pod: Pod, fds: Vec<std::os::fd::OwnedFd>) -> Result<Offer, (String, io::Error)> {
    let count = fds.len();
    let Ok([netns, outbound, inbound]) = <[_; 3]>::try_from(fds) else {
        return Err((
            pod.uid,
            unexpected(&format!("{count} descriptors came along instead of 3")),
        ));
    };
    match Netns::from_fd(netns) {
        Ok(netns) => Ok(Offer {
            pod,
            netns: Arc::new(netns),
            outbound,
            inbound,
        }),
        Err(error) => Err((pod.uid, error)),
    }
}

/// Queues what the proxy must know: what to keep, what to take, what to drop.
fn snapshot(
    handover: &Handover,
    id: PeerId,
    start: u64,
    namespaces: &BTreeMap<String, NetnsId>,
    queue: &mpsc::UnboundedSender<Parcel>,
) {
    let offers = handover.offers.borrow();
    let mut peers = handover.peers.borrow_mut();
    // A queue whose other end is in this function cannot be closed.
    let send = |message, offer| drop(queue.send((message, offer)));
    let same =
        |uid: &String, ns: &NetnsId| offers.get(uid).is_some_and(|o| o.offer.netns.id() == *ns);
    let (kept, stale): (Vec<_>, Vec<_>) = namespaces.iter().partition(|(uid, ns)| same(uid, ns));
    for (uid, _) in stale {
        send(ToProxy::Del { uid: uid.clone() }, None);
    }
    peers.joined(id, start, kept.iter().map(|(uid, _)| (*uid).clone()));
    for (uid, offered) in offers.iter() {
        if peers.holds(id, uid) {
            send(ToProxy::Keep { uid: uid.clone() }, None);
        } else {
            peers.offered_to(id, uid);
            send(
                ToProxy::Pod(offered.offer.pod.clone()),
                Some(Arc::clone(&offered.offer)),
            );
        }
        if offered.releasing {
            peers.releasing_at(id, uid);
            send(ToProxy::Releasing { uid: uid.clone() }, None);
        }
    }
    send(ToProxy::SnapshotEnd, None);
}

async fn write(
    packets: Rc<Packets>,
    mut parcels: mpsc::UnboundedReceiver<Parcel>,
) -> io::Result<()> {
    while let Some((message, offer)) = parcels.recv().await {
        let bytes = serde_json::to_vec(&message)?;
        let fds = offer.as_ref().map(|offer| offer.fds());
        let sending = packets.send(&bytes, fds.as_ref().map_or(&[], |fds| fds.as_slice()));
        match tokio::time::timeout(SEND_DEADLINE, sending).await {
            Ok(sent) => sent?,
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("it has not read for {SEND_DEADLINE:?}"),
                ));
            }
        }
    }
    Ok(())
}

async fn read(id: PeerId, packets: &Packets, handover: &Handover) -> io::Result<()> {
    while let Some((message, _)) = receive(packets).await? {
        let mut peers = handover.peers.borrow_mut();
        match message {
            ToAgent::Ack { uid } => peers.acked(id, &uid),
            ToAgent::Nack { uid, reason } => {
                tracing::warn!(uid, reason, "the proxy refuses a pod");
                peers.nacked(id, &uid, reason);
            }
            ToAgent::Idle { uid } => peers.idle(id, &uid),
            ToAgent::Ready => {
                let older = peers.ready(id);
                drop(peers);
                tracing::info!(drained = older.len(), "proxy is ready");
                for id in older {
                    handover.send(id, (ToProxy::Drain, None));
                }
            }
            ToAgent::Hello { .. } | ToAgent::Held(_) | ToAgent::HeldEnd => {
                return Err(unexpected("it greets twice"));
            }
        }
        handover.tell();
    }
    Ok(())
}

async fn receive(packets: &Packets) -> io::Result<Option<(ToAgent, Vec<std::os::fd::OwnedFd>)>> {
    match packets.recv(MAX_PACKET).await? {
        None => Ok(None),
        Some((bytes, fds)) => Ok(Some((serde_json::from_slice(&bytes)?, fds))),
    }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Field 22 of `/proc/PID/stat`, counted after the last `)`. 0 where it cannot be told: then the order of connection
/// decides who is newer.
fn process_start(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace()
        .nth(19)
        .and_then(|ticks| ticks.parse().ok())
        .unwrap_or(0)
}
