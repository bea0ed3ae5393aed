//! Carries out what the session decides: connects, reconnects for ever, moves messages, publishes states and writes the
//! last good one to disk. Everything runs on two small tasks; nothing here decides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Endpoint;
use weft_wire::table::rpc;
use weft_wire::table::{NodeMessage, OperatorMessage};

use crate::backoff::Backoff;
use crate::handle::Owner;
use crate::session::{Action, Event, Session, Snapshot};
use crate::{ClientConfig, StartError, disk};

/// Limit of one TCP connect, and of the call that opens the stream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A ping this often, and its answer within [`PING_TIMEOUT`]: an operator that vanished without a word is noticed after
/// at most eight seconds.
const PING_EVERY: Duration = Duration::from_secs(4);
/// Time for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// At most one write of the state per this time; the newest counts.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// A write that took long is followed by a rest this many times longer, so that writing never costs more than 2 %.
const WRITE_REST: u32 = 50;
/// Longest rest: how old the state on disk may be while the mesh changes all the time.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Replicas that send us on in a row before we rest: two that took each other for the leader would play ball with us.
const MAX_HOPS: u32 = 3;

/// What the tasks are made of.
pub(crate) struct Parts {
    pub(crate) session: Session,
    pub(crate) owner: Owner,
    pub(crate) endpoint: Endpoint,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    pub(crate) shutdown: CancellationToken,
}

/// The operator's address with the connection's limits.
pub(crate) fn endpoint(config: &ClientConfig) -> Result<Endpoint, StartError> {
    let invalid = |reason: &dyn std::fmt::Display| StartError::Operator {
        uri: config.operator.clone(),
        reason: reason.to_string(),
    };
    let endpoint =
        Endpoint::from_shared(config.operator.clone()).map_err(|error| invalid(&error))?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
        return Err(invalid(&"it needs the scheme http and a host"));
    }
    Ok(limited(endpoint))
}

fn limited(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}

/// Why a connection has ended, or was not made.
struct End {
    reason: String,
    /// Where the operator said that we should go instead.
    leader: Option<SocketAddr>,
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self {
            reason,
            leader: None,
        }
    }
}

impl From<tonic::Status> for End {
    fn from(status: tonic::Status) -> Self {
        Self {
            leader: rpc::leader(&status),
            reason: describe(&status),
        }
    }
}

/// Starts both tasks on the current runtime.
pub(crate) fn spawn(parts: Parts, tasks: &TaskTracker) {
    let (keep, kept) = watch::channel(None);
    let client = Client {
        session: parts.session,
        owner: parts.owner,
        endpoint: parts.endpoint,
        token_file: parts.token_file,
        keep,
        outgoing: None,
        backoff: Backoff::new(),
    };
    tasks.spawn(write(parts.dir, kept));
    tasks.spawn(async move {
        // Dropping the client closes `keep`, which lets the writer finish.
        parts.shutdown.run_until_cancelled_owned(client.run()).await;
    });
    tasks.close();
}

async fn read_token(path: &Path) -> Result<String, String> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("--token-file {}: {error}", path.display())),
    }
}

struct Client {
    session: Session,
    owner: Owner,
    endpoint: Endpoint,
    token_file: Option<PathBuf>,
    keep: watch::Sender<Option<Snapshot>>,
    outgoing: Option<mpsc::UnboundedSender<NodeMessage>>,
    backoff: Backoff,
}

impl Client {
    async fn run(mut self) {
        let (mut endpoint, mut hops) = (self.endpoint.clone(), 0);
        loop {
            let end = self.stream(endpoint).await;
            let was_connected = self.outgoing.take().is_some();
            let _ = self.take(Event::Lost);
            hops = if was_connected { 0 } else { hops };
            let leader = end.leader.filter(|_| hops < MAX_HOPS);
            // An address of numbers always makes an endpoint.
            let next = leader.and_then(|at| Endpoint::from_shared(format!("http://{at}")).ok());
            if let Some(next) = next {
                hops += 1;
                self.owner
                    .status
                    .send_if_modified(|status| std::mem::replace(&mut status.connected, false));
                endpoint = limited(next);
                continue;
            }
            self.report(end.reason);
            // Whoever was the leader may be gone: ask anew where it is.
            (endpoint, hops) = (self.endpoint.clone(), 0);
            let pause = self.backoff.next();
            self.meanwhile(tokio::time::sleep(pause)).await;
        }
    }

    /// One connection from beginning to end; returns why it ended.
    async fn stream(&mut self, endpoint: Endpoint) -> End {
        let (outgoing, messages) = mpsc::unbounded_channel();
        let uri = endpoint.uri().clone();
        let token_file = self.token_file.clone();
        let connecting = async move {
            let token = match token_file {
                Some(path) => Some(read_token(&path).await?),
                None => None,
            };
            let channel = endpoint.connect().await.map_err(|error| describe(&error))?;
            let stream = UnboundedReceiverStream::new(messages);
            let stream = rpc::connect(channel, token.as_deref(), stream);
            match tokio::time::timeout(CONNECT_TIMEOUT, stream).await {
                Ok(opened) => opened.map_err(End::from),
                Err(_) => Err("the operator does not answer the call".to_owned().into()),
            }
        };
        let mut incoming = match self.meanwhile(connecting).await {
            Ok(incoming) => incoming,
            Err(error) => return error,
        };
        self.outgoing = Some(outgoing);
        tracing::info!(operator = %uri, "connected to the operator");
        self.owner.status.send_modify(|status| {
            status.connected = true;
            status.last_error = None;
        });
        let mut end = self.take(Event::Connected).map(End::from);
        loop {
            if let Some(end) = end {
                return end;
            }
            end = tokio::select! {
                message = incoming.next() => self.received(message),
                Some(event) = self.owner.events.recv() => self.take(event).map(End::from),
            };
        }
    }

    /// Handles one result of the stream; returns why the connection ends, if it does.
    fn received(&mut self, message: Result<Option<OperatorMessage>, tonic::Status>) -> Option<End> {
        match message {
            Ok(Some(message)) => {
                // Only an operator that talks proves that connecting again at once makes sense.
                self.backoff.reset();
                self.take(Event::Message(message)).map(End::from)
            }
            Ok(None) => Some("the operator has ended the stream".to_owned().into()),
            Err(status) => Some(status.into()),
        }
    }

    /// Awaits `future` while the owner's events are handled.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                out = &mut future => return out,
                Some(event) = self.owner.events.recv() => {
                    let _ = self.take(event);
                }
            }
        }
    }

    /// Gives the session an event and does what it says; returns why the connection ends, if it does.
    fn take(&mut self, event: Event) -> Option<String> {
        let mut end = None;
        for action in self.session.on(event) {
            match action {
                Action::Send(message) => self.send(message),
                Action::Offer(state) => {
                    self.owner.state.send_replace(state);
                }
                Action::Keep => {
                    self.keep.send_replace(self.session.saved());
                    let applied = self.session.good().generation;
                    self.owner.status.send_if_modified(|status| {
                        std::mem::replace(&mut status.applied, applied) != applied
                    });
                }
                Action::Forget(interest) => self.owner.forget(&interest),
                Action::Reconnect(reason) => end = Some(reason),
            }
        }
        end
    }

    fn send(&mut self, message: NodeMessage) {
        if let NodeMessage::Ack { .. } = &message {
            self.owner.status.send_modify(|status| status.deltas += 1);
        }
        if let NodeMessage::Nack { generation, reason } = &message {
            tracing::error!(
                generation,
                reason,
                "tables refused; the last good ones stay in use"
            );
            self.owner.status.send_modify(|status| {
                status.refused += 1;
                status.last_error = Some(reason.clone());
            });
        }
        if let Some(outgoing) = &self.outgoing {
            // A closed stream is noticed where it is read.
            let _ = outgoing.send(message);
        }
    }

    /// Logs the end of a connection, or the first of a row of equal failures.
    fn report(&mut self, error: String) {
        let mut news = false;
        self.owner.status.send_modify(|status| {
            news = status.connected || status.last_error.as_ref() != Some(&error);
            status.connected = false;
            status.last_error = Some(error.clone());
        });
        if news {
            let generation = self.session.good().generation;
            tracing::warn!(
                error,
                generation,
                "no operator; serving what is there and trying again"
            );
        }
    }
}

/// Writes the newest state, resting in between, and a last time when the client has gone.
async fn write(dir: PathBuf, mut kept: watch::Receiver<Option<Snapshot>>) {
    while kept.changed().await.is_ok() {
        let Some(snapshot) = kept.borrow_and_update().clone() else {
            continue;
        };
        let (dir, generation) = (dir.clone(), snapshot.state.generation);
        let begun = Instant::now();
        let stored = tokio::task::spawn_blocking(move || disk::store(&dir, &snapshot)).await;
        if let Ok(Err(error)) = stored {
            tracing::error!(%error, generation, "cannot write the last good tables; a restart would use older ones");
        }
        let rest = (begun.elapsed() * WRITE_REST).clamp(WRITE_EVERY, LONGEST_REST);
        // Ends early when the client goes, so that the last state is written before the process ends.
        let _ = tokio::time::timeout(rest, closed(&kept)).await;
    }
}

async fn closed(kept: &watch::Receiver<Option<Snapshot>>) {
    let mut kept = kept.clone();
    while kept.changed().await.is_ok() {}
}

/// An error with its causes: tonic's outermost text alone says "transport error".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        cause = error.source();
    }
    text
}
