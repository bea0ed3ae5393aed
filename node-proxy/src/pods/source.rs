//! The conversation with the agent: one blocking thread that receives pods with their sockets, and a way to answer.
//!
//! It connects for ever. On each connection it first says what is held (`Hello`, `Held`…, `HeldEnd`), so that a restarted
//! agent adopts our listeners instead of binding its own (contracts.md §2).

use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::mpsc;
use weft_wire::pod::{MAX_PACKET, Pod as PodMessage, ToAgent, ToProxy, VERSION};

/// First pause after a connection to the agent failed or ended.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Longest such pause.
const RETRY_MOST: Duration = Duration::from_secs(1);

/// An agent that has not read for this long is left: the control thread has other work than to wait for it.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The sockets of one pod, as they travel.
pub(crate) struct PodSockets {
    pub(crate) pod: PodMessage,
    pub(crate) netns: OwnedFd,
    pub(crate) outbound: TcpListener,
    pub(crate) inbound: TcpListener,
}

impl PodSockets {
    /// A second set of descriptors for the same sockets.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            pod: self.pod.clone(),
            netns: self.netns.try_clone()?,
            outbound: self.outbound.try_clone()?,
            inbound: self.inbound.try_clone()?,
        })
    }
}

/// What the thread tells the control thread.
pub(crate) enum FromAgent {
    /// A connection stands; `Link::set` makes it the one to speak on, `Link::announce` is the first word on it.
    Connected(OwnedFd),
    /// A pod with its sockets.
    Pod(Box<PodSockets>),
    /// Anything else.
    Message(ToProxy),
}

/// The sending side. Messages are dropped while no agent is there: the next `Hello` tells it everything anew.
#[derive(Clone, Default)]
pub(crate) struct Link {
    socket: Arc<Mutex<Option<OwnedFd>>>,
}

impl Link {
    /// Sends a message without descriptors.
    pub(crate) fn send(&self, message: &ToAgent) {
        self.send_with(message, &[]);
    }

    /// Says what is held, as the first words of a connection.
    pub(crate) fn announce<'a>(&self, held: impl Iterator<Item = &'a PodSockets>) {
        self.send(&ToAgent::Hello {
            version: VERSION,
            pid: std::process::id(),
            started: process_start(),
        });
        for sockets in held {
            let fds = [
                sockets.netns.as_fd(),
                sockets.outbound.as_fd(),
                sockets.inbound.as_fd(),
            ];
            self.send_with(&ToAgent::Held(sockets.pod.clone()), &fds);
        }
        self.send(&ToAgent::HeldEnd);
    }

    fn send_with(&self, message: &ToAgent, fds: &[BorrowedFd<'_>]) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(socket), Ok(bytes)) = (socket.as_ref(), serde_json::to_vec(message)) else {
            return;
        };
        if let Err(error) = weft_netns::send_with_fds(socket.as_fd(), &bytes, fds) {
            tracing::warn!(%error, "cannot write to the agent; connecting anew");
            // The receiving side sees the end, connects again and says everything anew.
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
        }
    }

    /// Speaks on this connection from now on, or on none.
    pub(crate) fn set(&self, socket: Option<OwnedFd>) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }
}

/// Starts the thread.
pub(crate) fn start(
    path: PathBuf,
    link: Link,
    events: mpsc::UnboundedSender<FromAgent>,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("agent".to_owned())
        .spawn(move || {
            let mut pause = RETRY_FIRST;
            while !events.is_closed() {
                match weft_netns::seqpacket_connect(&path)
                    .and_then(|socket| converse(socket, &events, &mut pause))
                {
                    Ok(()) => tracing::warn!(
                        "the agent closed the connection; pods stay served, reconnecting"
                    ),
                    Err(error) => tracing::debug!(path = %path.display(), %error, "no agent yet"),
                }
                link.set(None);
                std::thread::sleep(pause);
                pause = (pause * 2).min(RETRY_MOST);
            }
        })?;
    Ok(())
}

/// Receives until the agent closes.
fn converse(
    socket: OwnedFd,
    events: &mpsc::UnboundedSender<FromAgent>,
    pause: &mut Duration,
) -> io::Result<()> {
    // A thread of its own waits here; sending waits too, for an agent that is busy with other pods.
    weft_netns::set_nonblocking(&socket, false)?;
    SockRef::from(&socket).set_write_timeout(Some(SEND_TIMEOUT))?;
    // The other thread begins to speak on it when it hears of it, so that nothing can come before its greeting.
    let speaking = socket.try_clone()?;
    if events.send(FromAgent::Connected(speaking)).is_err() {
        return Ok(());
    }
    let mut packet = vec![0; MAX_PACKET];
    loop {
        let (length, fds) = weft_netns::recv_with_fds(socket.as_fd(), &mut packet)?;
        if length == 0 {
            return Ok(());
        }
        *pause = RETRY_FIRST;
        let event = match decode(packet.get(..length).unwrap_or_default(), fds) {
            Ok(event) => event,
            Err(error) => {
                // One message that we cannot read is no reason to lose the pods of the others.
                tracing::error!(%error, "cannot use a message of the agent");
                continue;
            }
        };
        if events.send(event).is_err() {
            return Ok(());
        }
    }
}

fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<FromAgent, String> {
    let message: ToProxy = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let ToProxy::Pod(pod) = message else {
        return Ok(FromAgent::Message(message));
    };
    let count = fds.len();
    let [netns, outbound, inbound] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| {
        format!(
            "pod {}/{} came with {count} descriptors instead of 3",
            pod.namespace, pod.name
        )
    })?;
    let (outbound, inbound) = (TcpListener::from(outbound), TcpListener::from(inbound));
    Ok(FromAgent::Pod(Box::new(PodSockets {
        pod,
        netns,
        outbound,
        inbound,
    })))
}

/// When this process began, clock ticks since the machine's start: field 22 of its `stat`, counted after the last `)`.
/// 0 where it cannot be told.
pub(crate) fn process_start() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = rest.split_ascii_whitespace().nth(19);
    field.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_does_not_read_is_left() {
        let (ours, agents) = weft_netns::seqpacket_pair().unwrap();
        weft_netns::set_nonblocking(&ours, false).unwrap();
        let quick = Duration::from_millis(50);
        SockRef::from(&ours).set_write_timeout(Some(quick)).unwrap();
        let link = Link::default();
        link.set(Some(ours));
        let idle = ToAgent::Idle {
            uid: "x".repeat(1000),
        };
        for _ in 0..2000 {
            link.send(&idle);
        }
        // Whatever was queued can be read, and then the end.
        let mut packet = vec![0; MAX_PACKET];
        let mut queued = 0;
        while weft_netns::recv_with_fds(agents.as_fd(), &mut packet)
            .unwrap()
            .0
            > 0
        {
            queued += 1;
        }
        assert!(queued < 2000, "everything fitted");
    }
}
