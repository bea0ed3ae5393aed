//! Stands for the proxy: accepts what the rules redirect, notes it, connects onward with the marks and addresses that the
//! real one uses, and copies bytes with half-close. Its notes prove which connections were captured.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use socket2::SockRef;
use weft_model::capture::{INBOUND_PORT, OUTBOUND_PORT, OWN_PORTS};
use weft_netns::{
    Netns, Role, connect_upstream, has_ipv6, listen_in, original_destination, set_nonblocking,
};

const BACKLOG: i32 = 1024;
const CONNECT_MS: u16 = 5000;

/// Which way a captured connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Out,
    In,
}

/// A captured connection: the pod, the way, where it wanted to go.
pub(crate) type Hit = (&'static str, Way, SocketAddr);

#[derive(Default)]
struct Shared {
    hits: Mutex<Vec<Hit>>,
    /// What a ClusterIP stands for.
    services: RwLock<HashMap<SocketAddr, SocketAddr>>,
    /// Pods on this node that are reached in one pass, by address.
    one_pass: RwLock<HashMap<IpAddr, Netns>>,
}

/// The relay of one node, until it is dropped.
#[derive(Default)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Opens the pod's two listeners and serves them.
    pub(crate) fn attend(&mut self, pod: &'static str, ns: &Netns) -> io::Result<()> {
        for (port, way) in [(OUTBOUND_PORT, Way::Out), (INBOUND_PORT, Way::In)] {
            let fd = listen_in(ns, port, has_ipv6(ns)?, BACKLOG)?;
            set_nonblocking(&fd, false)?;
            let listener = TcpListener::from(fd);
            self.listeners.push(listener.try_clone()?);
            let (shared, ns) = (self.shared.clone(), ns.try_clone()?);
            self.threads.push(std::thread::spawn(move || {
                while let Ok((downstream, peer)) = listener.accept() {
                    let (shared, ns) = (shared.clone(), ns.try_clone().unwrap());
                    std::thread::spawn(move || {
                        shared.serve(pod, way, &ns, downstream, peer.ip().to_canonical())
                    });
                }
            }));
        }
        Ok(())
    }

    pub(crate) fn service(&self, address: SocketAddr, backend: SocketAddr) {
        self.shared
            .services
            .write()
            .unwrap()
            .insert(address, backend);
    }

    pub(crate) fn one_pass(&self, address: IpAddr, ns: &Netns) {
        self.shared
            .one_pass
            .write()
            .unwrap()
            .insert(address, ns.try_clone().unwrap());
    }

    /// The captured connections since the last call, sorted.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        let mut hits = std::mem::take(&mut *self.shared.hits.lock().unwrap());
        hits.sort_unstable();
        hits
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for listener in &self.listeners {
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(
        &self,
        pod: &'static str,
        way: Way,
        ns: &Netns,
        downstream: TcpStream,
        client: IpAddr,
    ) {
        let upstream = original_destination(&downstream).and_then(|wanted| {
            self.hits.lock().unwrap().push((pod, way, wanted));
            if OWN_PORTS.contains(&wanted.port()) {
                return Err(io::Error::other("a port of our own"));
            }
            self.connect(way, ns, wanted, client)
        });
        let Ok(upstream) = upstream else {
            // Closed with nothing to linger for: the client learns at once.
            let _ = SockRef::from(&downstream).set_linger(Some(Duration::ZERO));
            return;
        };
        let (down, up) = (Arc::new(downstream), Arc::new(upstream));
        let (down2, up2) = (down.clone(), up.clone());
        let back = std::thread::spawn(move || copy(&up2, &down2));
        copy(&down, &up);
        let _ = back.join();
    }

    fn connect(
        &self,
        way: Way,
        ns: &Netns,
        wanted: SocketAddr,
        client: IpAddr,
    ) -> io::Result<TcpStream> {
        let backend = self
            .services
            .read()
            .unwrap()
            .get(&wanted)
            .copied()
            .unwrap_or(wanted);
        let local = self
            .one_pass
            .read()
            .unwrap()
            .get(&backend.ip())
            .map(Netns::try_clone)
            .transpose()?;
        let socket = match (way, local) {
            (Way::In, _) => connect_upstream(ns, backend, &Role::ToApp { source: client })?,
            (Way::Out, Some(there)) => {
                connect_upstream(&there, backend, &Role::ToApp { source: client })?
            }
            (Way::Out, None) => connect_upstream(ns, backend, &Role::ToWire)?,
        };
        connected(socket)
    }
}

/// Waits until a connection that has begun stands or has failed.
fn connected(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket);
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut polled, CONNECT_MS)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Copies one way until its end, and passes on how it ended: half-close as half-close, reset as reset.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buf = vec![0; 16 * 1024];
    loop {
        let moved = from
            .read(&mut buf)
            .and_then(|n| to.write_all(buf.get(..n).unwrap_or_default()).map(|()| n));
        match moved {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(_) => {}
            Err(_) => {
                reset(to);
                reset(from);
                return;
            }
        }
    }
}

/// Ends a connection with a reset as soon as both threads have let go of it; until then only reading is shut, which
/// wakes the other thread and sends nothing.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}
