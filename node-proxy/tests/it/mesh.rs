//! The operator's part: manifests are compiled as the operator would, and each node that connects gets its slice over the
//! real gRPC stream. Deltas are always whole tables; what an operator sends instead is the operator's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weft_compile::{Settings, compile};
use weft_k8s::{Snapshot, parse_file};
use weft_model::delta::diff;
use weft_model::table::{Interest, Tables};
use weft_wire::table::rpc::{Caller, FromNode, Serve, ToNode, service};
use weft_wire::table::{Digest, NodeMessage, OperatorMessage, parts};

use crate::world::PATIENCE;

/// What every test's manifests come on top of.
const BASE: &str = include_str!("base.yaml");

/// A scripted operator.
pub(crate) struct Mesh {
    address: SocketAddr,
    wanted: watch::Sender<(u64, Arc<Tables>)>,
    /// Number of the newest manifests that some proxy uses.
    used: watch::Receiver<u64>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Mesh {
    /// Starts with the base and `manifests`.
    pub(crate) fn start(manifests: &str) -> Self {
        Self::listen(manifests, ([127, 0, 0, 1], 0).into())
    }

    fn listen(manifests: &str, address: SocketAddr) -> Self {
        let (wanted, tables) = watch::channel((1, Arc::new(build(manifests))));
        let (using, used) = watch::channel(0);
        let stop = CancellationToken::new();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let operator = Operator {
            tables,
            using,
            generation: Arc::default(),
            stop: stop.clone(),
        };
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let incoming =
                    TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let serving = tonic::transport::Server::builder().serve_with_incoming_shutdown(
                    service(operator),
                    incoming,
                    ended.cancelled(),
                );
                // A stream that is still open ends with the runtime.
                let _ = serving.await;
            });
        });
        Self {
            address,
            wanted,
            used,
            stop,
            thread: Some(thread),
        }
    }

    /// For `--operator`.
    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the manifests on top of the base; returns once a proxy uses them.
    pub(crate) fn apply(&self, manifests: &str) {
        let mut number = 0;
        self.wanted.send_modify(|(current, tables)| {
            *current += 1;
            number = *current;
            *tables = Arc::new(build(manifests));
        });
        let begin = Instant::now();
        while *self.used.borrow() < number {
            assert!(
                begin.elapsed() < PATIENCE,
                "no proxy took the new manifests"
            );
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The operator goes away; nothing listens at its address any more.
    pub(crate) fn leave(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Compiles; a finding would be a mistake in the test.
fn build(manifests: &str) -> Tables {
    let mut snapshot = Snapshot::default();
    for (layer, (file, text)) in [("base.yaml", BASE), ("test.yaml", manifests)]
        .into_iter()
        .enumerate()
    {
        let (objects, errors) = parse_file(file, text);
        assert!(errors.is_empty(), "{errors:?}");
        for object in objects {
            snapshot.insert(object.in_layer(u16::try_from(layer).unwrap()));
        }
    }
    compile(&snapshot, &Settings::default()).tables
}

struct Operator {
    tables: watch::Receiver<(u64, Arc<Tables>)>,
    using: watch::Sender<u64>,
    generation: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Serve for Operator {
    async fn connect(&self, _caller: Caller, incoming: FromNode) -> Result<ToNode, Status> {
        let (send, queue) = mpsc::unbounded_channel();
        let node = Node {
            tables: self.tables.clone(),
            using: self.using.clone(),
            generation: Arc::clone(&self.generation),
            send,
            interest: Interest::default(),
            name: String::new(),
        };
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(node.serve(incoming)).await });
        Ok(Box::pin(UnboundedReceiverStream::new(queue)))
    }
}

/// One connected node.
struct Node {
    tables: watch::Receiver<(u64, Arc<Tables>)>,
    using: watch::Sender<u64>,
    generation: Arc<AtomicU64>,
    send: mpsc::UnboundedSender<Result<OperatorMessage, Status>>,
    interest: Interest,
    name: String,
}

impl Node {
    /// Sends what is wanted, one generation at a time, until the node leaves.
    async fn serve(mut self, mut incoming: FromNode) -> Option<()> {
        let NodeMessage::Hello(hello) = incoming.next().await.ok()?? else {
            return None;
        };
        self.name = hello.node;
        self.interest = hello.interest;
        let floor = hello.resume.map_or(0, |resume| resume.generation);
        self.generation.fetch_max(floor, Ordering::Relaxed);
        loop {
            let (number, generation) = self.push()?;
            let mut asked = false;
            loop {
                match incoming.next().await.ok()?? {
                    NodeMessage::Ack { generation: acked } if acked == generation => break,
                    NodeMessage::Nack { reason, .. } => panic!("the proxy refuses: {reason}"),
                    NodeMessage::Subscribe(interest) => asked |= self.want(interest),
                    NodeMessage::Ack { .. } | NodeMessage::Hello(_) | NodeMessage::Troubles(_) => {}
                }
            }
            self.using
                .send_if_modified(|used| std::mem::replace(used, number.max(*used)) < number);
            while !asked && self.tables.borrow().0 == number {
                tokio::select! {
                    changed = self.tables.changed() => changed.ok()?,
                    message = incoming.next() => if let NodeMessage::Subscribe(interest) = message.ok()?? {
                        asked = self.want(interest);
                    },
                }
            }
        }
    }

    fn want(&mut self, interest: Interest) -> bool {
        self.interest.services.extend(interest.services);
        self.interest.workloads.extend(interest.workloads);
        true
    }

    /// Sends the node's slice; returns which manifests it is of and its generation.
    fn push(&self) -> Option<(u64, u64)> {
        let (number, tables) = self.tables.borrow().clone();
        let slice = tables.slice(&self.name, &self.interest);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let delta = diff(&Tables::default(), &slice);
        for part in parts::split(generation, None, Some(Digest::of(&slice)), &delta).unwrap() {
            self.send.send(Ok(OperatorMessage::Delta(part))).ok()?;
        }
        Some((number, generation))
    }
}
