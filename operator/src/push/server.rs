//! The gRPC end of the table stream: limits, one task per connected program, and the session's steps carried out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Server;
use weft_wire::table::rpc::{self, Caller, FromNode, ToNode};
use weft_wire::table::{Hello, NodeMessage, OperatorMessage};

use super::listen::{Guests, HELLO_DEADLINE, incoming};
use super::memory::Memory;
use super::session::{Session, Step};
use crate::cluster::lease::{Seat, Seats};
use crate::cluster::tokens::{Refused, Tokens};
use crate::metrics::Metrics;
use crate::pipeline::Handle;
use crate::published::Published;
use crate::status::{NackStatus, NodeStatus, Nodes, Row};

/// A silent connection is asked for a sign of life this often ...
const PING_EVERY: Duration = Duration::from_secs(10);
/// ... and closed without one after this.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams on one connection; a node opens one.
const MAX_STREAMS: u32 = 4;
/// Bytes of request headers; a node sends a few hundred.
const MAX_HEADERS: u32 = 8 * 1024;
/// Parts of a delta that wait for the connection; the sender waits beyond that.
const QUEUE: usize = 4;

/// What nodes are served from, and where they are counted.
pub struct Mesh {
    /// The tables.
    pub pipeline: Handle,
    /// Who is connected.
    pub nodes: Nodes,
    /// The figures.
    pub metrics: Metrics,
    /// Whether this replica serves nodes, or sends them on.
    pub seats: Seats,
}

/// Who is let in.
#[derive(Clone, Default)]
pub enum Door {
    /// Whoever reaches the port, under the name that it gives: without Kubernetes.
    #[default]
    Open,
    /// Whoever shows a token of its node.
    Tokens(Box<Tokens>),
}

impl Door {
    /// The node that the caller is, where that is known before it says so.
    async fn node(&self, caller: &Caller) -> Result<Option<String>, Status> {
        let Self::Tokens(tokens) = self else {
            return Ok(None);
        };
        let node = tokens.node(caller.token.as_deref()).await;
        node.map(Some).map_err(|refused| {
            let peer = caller.peer.map(tracing::field::display);
            tracing::warn!(peer, reason = %refused, "a node is not let in");
            match refused {
                Refused::Unknown(text) => Status::unauthenticated(text),
                Refused::Forbidden(text) => Status::permission_denied(text),
                Refused::Unavailable(text) => Status::unavailable(text),
            }
        })
    }
}

/// Serves nodes until `shutdown`, which ends every stream.
///
/// # Errors
/// When the transport fails as a whole.
pub async fn serve(
    listener: TcpListener,
    mesh: Mesh,
    door: Door,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let guests = Guests::default();
    let shared = Shared {
        pipeline: mesh.pipeline,
        nodes: mesh.nodes,
        metrics: mesh.metrics,
        seats: mesh.seats,
        door,
        guests: guests.clone(),
        memory: Memory::default(),
        shutdown: shutdown.clone(),
    };
    Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .serve_with_incoming_shutdown(
            rpc::service(Service(Arc::new(shared))),
            incoming(listener, guests),
            shutdown.cancelled_owned(),
        )
        .await
}

struct Shared {
    pipeline: Handle,
    nodes: Nodes,
    metrics: Metrics,
    seats: Seats,
    door: Door,
    guests: Guests,
    memory: Memory,
    shutdown: CancellationToken,
}

struct Service(Arc<Shared>);

impl rpc::Serve for Service {
    async fn connect(&self, caller: Caller, mut incoming: FromNode) -> Result<ToNode, Status> {
        let shared = Arc::clone(&self.0);
        // Before the token is judged: a replica that sends everybody on needs to know nobody.
        if let Seat::Follows { leader } = *shared.seats.borrow() {
            return Err(rpc::not_leader(leader));
        }
        let node = shared.door.node(&caller).await?;
        let (outgoing, messages) = mpsc::channel(QUEUE);
        // The call is answered before Hello: a client may wait for the answer before it sends anything.
        tokio::spawn(async move {
            let served = async {
                let hello = hello(&mut incoming).await?;
                if let Some(node) = node.filter(|node| *node != hello.node) {
                    let text = format!("the token is node {node}'s, and this is {}", hello.node);
                    return Err(Status::permission_denied(text));
                }
                if let Some(peer) = caller.peer {
                    shared.guests.greet(peer);
                }
                Connection::new(&shared, hello, outgoing.clone())
                    .run(incoming)
                    .await
            };
            let ended = tokio::select! {
                ended = served => ended,
                leader = deposed(shared.seats.clone()) => Err(rpc::not_leader(leader)),
                () = shared.shutdown.cancelled() => Err(Status::unavailable("the operator stops")),
            };
            if let Err(status) = ended {
                let _ = outgoing.try_send(Err(status));
            }
        });
        Ok(Box::pin(ReceiverStream::new(messages)))
    }
}

/// Returns when this replica no longer serves, with the address of the one that does.
async fn deposed(mut seats: Seats) -> Option<SocketAddr> {
    match seats
        .wait_for(|seat| matches!(seat, Seat::Follows { .. }))
        .await
        .map(|seat| seat.leader())
    {
        Ok(leader) => leader,
        // Nobody elects: this one serves as long as it lives.
        Err(_) => std::future::pending().await,
    }
}

async fn hello(incoming: &mut FromNode) -> Result<Hello, Status> {
    match tokio::time::timeout(HELLO_DEADLINE, incoming.next()).await {
        Ok(Ok(Some(NodeMessage::Hello(hello)))) => Ok(hello),
        Ok(Ok(Some(_))) => Err(Status::invalid_argument("the first message must be hello")),
        Ok(Ok(None)) => Err(Status::cancelled("the node left without a word")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no hello within five seconds")),
    }
}

/// One program that has said Hello.
struct Connection<'a> {
    shared: &'a Shared,
    hello: Hello,
    session: Option<Session>,
    row: Row,
    outgoing: mpsc::Sender<Result<OperatorMessage, Status>>,
}

impl<'a> Connection<'a> {
    fn new(
        shared: &'a Shared,
        hello: Hello,
        outgoing: mpsc::Sender<Result<OperatorMessage, Status>>,
    ) -> Self {
        // Numbers of an operator before us are not used again, for nobody. Where replicas take over from each other, what
        // the mesh is said to run never goes back either; an operator that was alone and is again bothers no node with it.
        match shared.door {
            Door::Tokens(_) => shared.pipeline.count_above(hello.seen),
            Door::Open => _ = shared.pipeline.generations().count_above(hello.seen),
        }
        let session = Session::new(hello.clone(), shared.memory.take(&hello.node, hello.kind));
        let row = shared.nodes.add(NodeStatus {
            node: hello.node.clone(),
            kind: hello.kind.as_str(),
            version: hello.version.clone(),
            sent: 0,
            number: session.seen(),
            acked: session.acked(),
            last_nack: None,
            acked_since: Instant::now(),
            troubles: Vec::new(),
        });
        shared.metrics.connected(hello.kind.as_str(), 1);
        tracing::info!(
            node = hello.node,
            kind = hello.kind.as_str(),
            version = hello.version,
            holds = hello.resume.map(|resume| resume.generation),
            "node connected"
        );
        Self {
            shared,
            hello,
            session: Some(session),
            row,
            outgoing,
        }
    }

    async fn run(mut self, mut incoming: FromNode) -> Result<(), Status> {
        let mut published = self.shared.pipeline.changes();
        loop {
            let newest = published.borrow_and_update().clone();
            self.advance(&newest).await?;
            tokio::select! {
                message = incoming.next() => match message? {
                    Some(message) => self.take(message, &newest)?,
                    None => return Ok(()),
                },
                changed = published.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = self.outgoing.closed() => return Ok(()),
            }
        }
    }

    /// Sends what is due.
    async fn advance(&mut self, newest: &Published) -> Result<(), Status> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match session.step(newest, self.shared.pipeline.generations()) {
            Step::Wait => {}
            Step::Refuse(reason) => return Err(refuse(&self.hello, reason)),
            Step::Send(parts) => {
                let bytes = parts.iter().map(|part| part.payload.len()).sum();
                let reset = parts.first().is_some_and(|part| part.header.base.is_none());
                self.shared.metrics.pushed(reset, bytes);
                let generation = newest.generation;
                tracing::debug!(
                    node = self.hello.node,
                    generation,
                    reset,
                    bytes,
                    "delta sent"
                );
                let (acked, number) = (session.acked(), session.seen());
                self.row.update(|row| {
                    row.sent = generation;
                    row.number = number;
                    row.uses(acked);
                });
                for part in parts {
                    if self
                        .outgoing
                        .send(Ok(OperatorMessage::Delta(part)))
                        .await
                        .is_err()
                    {
                        return Err(Status::cancelled("the node has gone"));
                    }
                }
            }
        }
        let acked = session.acked();
        self.row.update(|row| row.uses(acked));
        Ok(())
    }

    fn take(&mut self, message: NodeMessage, newest: &Published) -> Result<(), Status> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match message {
            NodeMessage::Hello(_) => return Err(Status::invalid_argument("hello came twice")),
            NodeMessage::Subscribe(interest) => {
                if let Step::Refuse(reason) = session.subscribe(interest) {
                    return Err(refuse(&self.hello, reason));
                }
            }
            NodeMessage::Ack { generation } => {
                if let Some(of) = session.ack(generation) {
                    // Only the way of a change through the mesh is measured, not what a node asked for later.
                    let since = (of == newest.generation && of == generation)
                        .then_some(newest.since)
                        .flatten();
                    self.shared
                        .metrics
                        .acked(since.map(|since| since.elapsed()));
                }
            }
            NodeMessage::Troubles(troubles) => {
                self.row.update(|row| row.troubles = troubles);
            }
            NodeMessage::Nack { generation, reason } => {
                if let Some(generation) = session.nack(generation) {
                    self.shared.metrics.nacked();
                    tracing::warn!(
                        node = self.hello.node,
                        generation,
                        reason,
                        "node refuses its tables"
                    );
                    self.row
                        .update(|row| row.last_nack = Some(NackStatus { generation, reason }));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let kind = self.hello.kind;
        self.shared.metrics.connected(kind.as_str(), -1);
        tracing::info!(
            node = self.hello.node,
            kind = kind.as_str(),
            "node disconnected"
        );
        if let Some(session) = self.session.take() {
            let node = self.hello.node.clone();
            self.shared
                .memory
                .put(node, kind, session.into_memory(), Instant::now());
        }
    }
}

fn refuse(hello: &Hello, reason: String) -> Status {
    tracing::error!(node = hello.node, reason, "stream ended");
    Status::resource_exhausted(reason)
}
