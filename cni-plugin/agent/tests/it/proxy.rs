//! A proxy of the test's own: it speaks the pod protocol, relays bytes, and remembers all that it was told.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use weft_netns::{
    Netns, Role, original_destination, recv_with_fds, send_with_fds, seqpacket_connect,
    set_nonblocking, upstream_socket,
};
use weft_wire::pod::{MAX_PACKET, Pod, ToAgent, ToProxy, VERSION};

/// Accepting threads look this often whether their pod is gone.
const ACCEPT_PERIOD: Duration = Duration::from_millis(50);

/// How the proxy answers an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Acks,
    Nacks,
    /// Refuses each pod the first time.
    NacksOnce,
    Silent,
}

pub(crate) struct Proxy {
    commands: mpsc::Sender<Option<ToAgent>>,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    manner: Manner,
    path: PathBuf,
    heard: Mutex<Vec<ToProxy>>,
    pods: Mutex<BTreeMap<String, Served>>,
    /// Connections relayed since the start, by pod uid.
    relayed: Mutex<BTreeMap<String, usize>>,
}

struct Served {
    pod: Pod,
    fds: Vec<OwnedFd>,
    gone: Arc<AtomicBool>,
    active: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) fn start(run_dir: &Path, manner: Manner) -> Self {
        let shared = Arc::new(Shared {
            manner,
            path: run_dir.join("agent.sock"),
            heard: Mutex::default(),
            pods: Mutex::default(),
            relayed: Mutex::default(),
        });
        let (commands, inbox) = mpsc::channel();
        let (own, begun) = (Arc::clone(&shared), Instant::now());
        let thread = thread::spawn(move || {
            while let Err(error) = session(&own, &inbox) {
                // The agent is away; a real proxy keeps serving and comes back.
                if begun.elapsed() > Duration::from_secs(60) {
                    panic!("the proxy's session: {error}");
                }
                thread::sleep(Duration::from_millis(20));
                if let Ok(None) = inbox.try_recv() {
                    return;
                }
            }
        });
        let proxy = Self {
            commands,
            shared,
            thread: Some(thread),
        };
        proxy.hears("the snapshot", |message| *message == ToProxy::SnapshotEnd);
        proxy
    }

    pub(crate) fn say(&self, message: ToAgent) {
        self.commands.send(Some(message)).unwrap();
    }

    pub(crate) fn heard(&self) -> Vec<ToProxy> {
        self.shared.heard.lock().unwrap().clone()
    }

    pub(crate) fn forget_heard(&self) {
        self.shared.heard.lock().unwrap().clear();
    }

    /// Waits until it has been told something.
    pub(crate) fn hears(&self, what: &str, is: impl Fn(&ToProxy) -> bool) {
        crate::world::eventually(
            &format!("the proxy hears {what}; it heard {:?}", self.heard()),
            || self.heard().iter().any(&is),
        );
    }

    pub(crate) fn offers(&self) -> usize {
        self.heard()
            .iter()
            .filter(|m| matches!(m, ToProxy::Pod(_)))
            .count()
    }

    pub(crate) fn relayed(&self, uid: &str) -> usize {
        self.shared
            .relayed
            .lock()
            .unwrap()
            .get(uid)
            .copied()
            .unwrap_or(0)
    }

    /// The agent's process has gone, and so has this one, at once.
    pub(crate) fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let _ = self.commands.send(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for served in std::mem::take(&mut *self.shared.pods.lock().unwrap()).into_values() {
            served.gone.store(true, SeqCst);
        }
        thread::sleep(ACCEPT_PERIOD * 2);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

fn send(socket: &UnixStream, message: &ToAgent, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with_fds(socket.as_fd(), &serde_json::to_vec(message)?, fds)
}

/// One connection to the agent. `Ok`: the test ends it.
fn session(shared: &Arc<Shared>, inbox: &mpsc::Receiver<Option<ToAgent>>) -> io::Result<()> {
    let socket = seqpacket_connect(&shared.path)?;
    set_nonblocking(&socket, false)?;
    let socket = UnixStream::from(socket);
    socket.set_read_timeout(Some(Duration::from_millis(10)))?;
    send(
        &socket,
        &ToAgent::Hello {
            version: VERSION,
            pid: std::process::id(),
            started: 0,
        },
        &[],
    )?;
    for served in shared.pods.lock().unwrap().values() {
        let fds: Vec<BorrowedFd<'_>> = served.fds.iter().map(AsFd::as_fd).collect();
        send(&socket, &ToAgent::Held(served.pod.clone()), &fds)?;
    }
    send(&socket, &ToAgent::HeldEnd, &[])?;
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        match inbox.try_recv() {
            Ok(Some(message)) => send(&socket, &message, &[])?,
            Ok(None) => return Ok(()),
            Err(_) => {}
        }
        for uid in idle(shared) {
            send(&socket, &ToAgent::Idle { uid }, &[])?;
        }
        let (length, fds) = match recv_with_fds(socket.as_fd(), &mut buffer) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let message: ToProxy = serde_json::from_slice(&buffer[..length])?;
        shared.heard.lock().unwrap().push(message.clone());
        if let Some(answer) = react(shared, message, fds) {
            send(&socket, &answer, &[])?;
        }
    }
}

/// Pods in release without a connection, each named once. It stops accepting then: there is nothing to accept.
fn idle(shared: &Shared) -> Vec<String> {
    let releasing = |uid: &String| {
        let last = |m: &ToProxy| match m {
            ToProxy::Releasing { uid: u } if u == uid => Some(true),
            ToProxy::Keep { uid: u } if u == uid => Some(false),
            _ => None,
        };
        shared.heard.lock().unwrap().iter().rev().find_map(last) == Some(true)
    };
    let pods = shared.pods.lock().unwrap();
    let idle = |(uid, served): &(&String, &Served)| {
        releasing(uid) && served.active.load(SeqCst) == 0 && !served.gone.swap(true, SeqCst)
    };
    pods.iter()
        .filter(idle)
        .map(|(uid, _)| uid.clone())
        .collect()
}

fn react(shared: &Arc<Shared>, message: ToProxy, fds: Vec<OwnedFd>) -> Option<ToAgent> {
    match message {
        ToProxy::Pod(pod) => {
            assert_eq!(fds.len(), 3, "namespace, outbound, inbound");
            let uid = pod.uid.clone();
            match shared.manner {
                Manner::Silent => return None,
                Manner::Nacks => {
                    return Some(ToAgent::Nack {
                        uid,
                        reason: "the proxy is full".into(),
                    });
                }
                Manner::NacksOnce => {
                    let offered = |m: &&ToProxy| matches!(m, ToProxy::Pod(pod) if pod.uid == uid);
                    if shared.heard.lock().unwrap().iter().filter(offered).count() == 1 {
                        return Some(ToAgent::Nack {
                            uid,
                            reason: "not now".into(),
                        });
                    }
                }
                Manner::Acks => {}
            }
            let served = Served {
                pod,
                fds,
                gone: Arc::default(),
                active: Arc::default(),
            };
            relay(shared, &served);
            if let Some(old) = shared.pods.lock().unwrap().insert(uid.clone(), served) {
                old.gone.store(true, SeqCst);
            }
            Some(ToAgent::Ack { uid })
        }
        ToProxy::Del { uid } => {
            if let Some(served) = shared.pods.lock().unwrap().remove(&uid) {
                served.gone.store(true, SeqCst);
            }
            None
        }
        ToProxy::Keep { .. }
        | ToProxy::Releasing { .. }
        | ToProxy::SnapshotEnd
        | ToProxy::Drain => None,
    }
}

/// Two accepting threads per pod.
fn relay(shared: &Arc<Shared>, served: &Served) {
    for inbound in [false, true] {
        let ns = Netns::from_fd(served.fds[0].try_clone().unwrap()).unwrap();
        let listener = TcpListener::from(served.fds[1 + usize::from(inbound)].try_clone().unwrap());
        let (gone, active, shared, uid) = (
            Arc::clone(&served.gone),
            Arc::clone(&served.active),
            Arc::clone(shared),
            served.pod.uid.clone(),
        );
        // Blocking, so that hundreds of pods cost nothing; the agent, which shares the socket, never accepts.
        listener.set_nonblocking(false).unwrap();
        socket2::SockRef::from(&listener)
            .set_read_timeout(Some(ACCEPT_PERIOD))
            .unwrap();
        thread::spawn(move || {
            while !gone.load(SeqCst) {
                let Ok((client, peer)) = listener.accept() else {
                    continue;
                };
                *shared
                    .relayed
                    .lock()
                    .unwrap()
                    .entry(uid.clone())
                    .or_default() += 1;
                let role = if inbound {
                    Role::ToApp {
                        source: canonical(peer.ip()),
                    }
                } else {
                    Role::ToWire
                };
                match dial(&ns, &client, &role) {
                    Ok(server) => carry(client, server, &active),
                    Err(error) => eprintln!("proxy: {error}"),
                }
            }
        });
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn dial(ns: &Netns, client: &TcpStream, role: &Role) -> io::Result<TcpStream> {
    // It inherits the listener's.
    client.set_read_timeout(None)?;
    let destination: SocketAddr = original_destination(client)?;
    let socket = socket2::Socket::from(upstream_socket(ns, destination, role)?);
    socket.set_nonblocking(false)?;
    socket.connect(&destination.into())?;
    Ok(socket.into())
}

fn carry(client: TcpStream, server: TcpStream, active: &Arc<AtomicUsize>) {
    for (from, to) in [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ] {
        active.fetch_add(1, SeqCst);
        let active = Arc::clone(active);
        thread::spawn(move || {
            copy(from, to);
            active.fetch_sub(1, SeqCst);
        });
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(n) if n > 0 && to.write_all(&buffer[..n]).is_ok() => {}
            _ => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}
