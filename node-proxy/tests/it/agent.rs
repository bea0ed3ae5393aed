//! The agent's part: it owns the pods' listeners, hands them to every proxy that connects, and keeps what proxies say.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use weft_model::capture::{INBOUND_PORT, OUTBOUND_PORT};
use weft_netns::{Netns, has_ipv6, listen_in, recv_with_fds, send_with_fds, set_nonblocking};
use weft_wire::pod::{MAX_PACKET, Pod as PodMessage, ToAgent, ToProxy};

use crate::world::{PATIENCE, Pod};

/// Connections that may wait for a proxy.
const BACKLOG: i32 = 1024;

/// What a pod's proxy needs.
struct Held {
    message: PodMessage,
    netns: Netns,
    outbound: OwnedFd,
    inbound: OwnedFd,
}

impl Held {
    fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [
            self.netns.as_fd(),
            self.outbound.as_fd(),
            self.inbound.as_fd(),
        ]
    }
}

/// A connected proxy and all that it has said.
struct Peer {
    pid: u32,
    socket: OwnedFd,
    said: Vec<ToAgent>,
    held: Vec<String>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Held>,
    peers: Vec<Peer>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A scripted agent.
pub(crate) struct Agent {
    path: PathBuf,
    shared: Arc<Shared>,
    listener: Arc<OwnedFd>,
}

impl Agent {
    /// Listens at `DIR/agent.sock`.
    pub(crate) fn start(dir: &Path) -> Self {
        let path = dir.join("agent.sock");
        let shared = Arc::<Shared>::default();
        let listener = listen(&path, &shared);
        Self {
            path,
            shared,
            listener,
        }
    }

    /// Opens a pod's listeners, and offers them to every proxy that is there or comes.
    pub(crate) fn hold(&self, pod: &Pod) {
        let netns = pod.ns.try_clone().unwrap();
        let v6 = has_ipv6(&netns).unwrap();
        let held = Held {
            message: PodMessage {
                uid: pod.uid(),
                namespace: "shop".to_owned(),
                name: pod.name.to_owned(),
                ips: vec![pod.ip.into(), pod.ip6.into()],
            },
            outbound: listen_in(&netns, OUTBOUND_PORT, v6, BACKLOG).unwrap(),
            inbound: listen_in(&netns, INBOUND_PORT, v6, BACKLOG).unwrap(),
            netns,
        };
        let mut state = self.shared.state.lock().unwrap();
        for peer in &state.peers {
            send(&peer.socket, &ToProxy::Pod(held.message.clone()), &held);
        }
        state.pods.insert(pod.uid(), held);
    }

    /// Takes a pod away from every proxy and closes its listeners.
    pub(crate) fn drop_pod(&self, uid: &str) {
        let mut state = self.shared.state.lock().unwrap();
        let held = state.pods.remove(uid).unwrap();
        let uid = uid.to_owned();
        for peer in &state.peers {
            send(&peer.socket, &ToProxy::Del { uid: uid.clone() }, &held);
        }
    }

    /// Says something about pods to the proxy with this pid.
    pub(crate) fn tell(&self, pid: u32, message: &ToProxy) {
        let state = self.shared.state.lock().unwrap();
        let peer = state.peers.iter().rfind(|peer| peer.pid == pid).unwrap();
        let bytes = serde_json::to_vec(message).unwrap();
        send_with_fds(peer.socket.as_fd(), &bytes, &[]).unwrap();
    }

    /// Waits until the proxy has said `Ready`.
    pub(crate) fn ready(&self, pid: u32) {
        self.wait(pid, "Ready", |said| said.contains(&ToAgent::Ready));
    }

    /// Waits until what a proxy has said on its newest connection is enough.
    pub(crate) fn wait(&self, pid: u32, what: &str, enough: impl Fn(&[ToAgent]) -> bool) {
        let begin = Instant::now();
        let mut state = self.shared.state.lock().unwrap();
        loop {
            let peer = state.peers.iter().rfind(|peer| peer.pid == pid);
            let said = peer.map(|peer| peer.said.as_slice());
            if said.is_some_and(&enough) {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the proxy never said {what}, only {said:?}"
            );
            let left = PATIENCE.saturating_sub(begin.elapsed());
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How often a proxy has said something on its newest connection.
    pub(crate) fn count(&self, pid: u32, word: &ToAgent) -> usize {
        let state = self.shared.state.lock().unwrap();
        let peer = state.peers.iter().rfind(|peer| peer.pid == pid);
        peer.map_or(0, |peer| {
            peer.said.iter().filter(|said| *said == word).count()
        })
    }

    /// Pods that a proxy said it held when it connected last.
    pub(crate) fn held_by(&self, pid: u32) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let peer = state.peers.iter().rfind(|peer| peer.pid == pid);
        peer.map(|peer| peer.held.clone()).unwrap_or_default()
    }

    /// Dies and comes back: all connections and the socket are gone, then a new one listens. The pods' sockets stay.
    pub(crate) fn restart(&mut self) {
        self.close();
        self.listener = listen(&self.path, &self.shared);
    }

    fn close(&self) {
        shutdown(&self.listener);
        let _ = std::fs::remove_file(&self.path);
        let state = self.shared.state.lock();
        // Also after a test that failed while it held the lock.
        let mut state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        for peer in state.peers.drain(..) {
            shutdown(&peer.socket);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.close();
    }
}

fn shutdown(socket: &OwnedFd) {
    let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
}

/// `held` lends its descriptors to `Pod` messages only.
fn send(socket: &OwnedFd, message: &ToProxy, held: &Held) {
    let bytes = serde_json::to_vec(message).unwrap();
    let fds = held.fds();
    let fds: &[BorrowedFd<'_>] = match message {
        ToProxy::Pod(_) => &fds,
        _ => &[],
    };
    // A proxy that is gone is no mistake of the agent's.
    let _ = send_with_fds(socket.as_fd(), &bytes, fds);
}

fn listen(path: &Path, shared: &Arc<Shared>) -> Arc<OwnedFd> {
    let listener = Arc::new(weft_netns::seqpacket_listen(path).unwrap());
    set_nonblocking(&*listener, false).unwrap();
    let (accepting, shared) = (Arc::clone(&listener), Arc::clone(shared));
    std::thread::spawn(move || {
        while let Ok(socket) = weft_netns::seqpacket_accept(accepting.as_fd()) {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || serve(socket, &shared));
        }
    });
    listener
}

/// One proxy: greeting, snapshot, then its words as they come.
fn serve(socket: OwnedFd, shared: &Shared) -> Option<()> {
    set_nonblocking(&socket, false).unwrap();
    let ToAgent::Hello { pid, .. } = receive(&socket)? else {
        panic!("the proxy did not say Hello first");
    };
    let mut held = Vec::new();
    loop {
        match receive(&socket)? {
            ToAgent::Held(pod) => held.push(pod.uid),
            ToAgent::HeldEnd => break,
            other => panic!("{other:?} is no part of a greeting"),
        }
    }
    let mine = socket.try_clone().unwrap();
    {
        let mut state = shared.state.lock().unwrap();
        for (uid, pod) in &state.pods {
            let message = match held.contains(uid) {
                true => ToProxy::Keep { uid: uid.clone() },
                false => ToProxy::Pod(pod.message.clone()),
            };
            send(&socket, &message, pod);
        }
        let end = serde_json::to_vec(&ToProxy::SnapshotEnd).unwrap();
        send_with_fds(socket.as_fd(), &end, &[]).ok()?;
        state.peers.push(Peer {
            pid,
            socket,
            said: Vec::new(),
            held,
        });
    }
    while let Some(message) = receive(&mine) {
        let mut state = shared.state.lock().unwrap();
        if let Some(peer) = state.peers.iter_mut().rfind(|peer| peer.pid == pid) {
            peer.said.push(message);
        }
        shared.changed.notify_all();
    }
    Some(())
}

fn receive(socket: &OwnedFd) -> Option<ToAgent> {
    let mut packet = vec![0; MAX_PACKET];
    let (length, _) = recv_with_fds(socket.as_fd(), &mut packet).ok()?;
    (length > 0).then(|| serde_json::from_slice(&packet[..length]).unwrap())
}
