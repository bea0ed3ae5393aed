//! An operator of the test's own: it sends the pods it is told to, whole each time, and waits for the acknowledgement.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use weft_model::delta::diff;
use weft_model::pod::LocalPod;
use weft_model::table::Tables;
use weft_wire::table::rpc::{Caller, FromNode, Serve, ToNode, service};
use weft_wire::table::{NodeMessage, OperatorMessage, parts};

use crate::world::PATIENCE;

pub(crate) struct Operator {
    pub(crate) address: SocketAddr,
    /// With the number of the change.
    pods: watch::Sender<(u64, Vec<LocalPod>)>,
    acked: watch::Receiver<u64>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Script {
    pods: watch::Receiver<(u64, Vec<LocalPod>)>,
    acked: watch::Sender<u64>,
    generation: Arc<std::sync::atomic::AtomicU64>,
}

impl Operator {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (pods, seen) = watch::channel((0, Vec::new()));
        let (told, acked) = watch::channel(0);
        let script = Script {
            pods: seen,
            acked: told,
            generation: Arc::default(),
        };
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().serve_with_incoming_shutdown(
            service(script),
            TcpListenerStream::new(listener),
            std::future::pending(),
        );
        runtime.spawn(server);
        Self {
            address,
            pods,
            acked,
            runtime: Some(runtime),
        }
    }

    /// Changes the pods and waits until the agent has acknowledged the change.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Vec<LocalPod>)) {
        self.set(change);
        let number = self.pods.borrow().0;
        let mut acked = self.acked.clone();
        let waited = async {
            tokio::time::timeout(PATIENCE, acked.wait_for(|n| *n >= number))
                .await
                .map(drop)
        };
        self.runtime
            .as_ref()
            .unwrap()
            .block_on(waited)
            .expect("the agent acknowledges the tables");
    }

    /// Changes the pods without waiting: the agent may be dead.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Vec<LocalPod>)) {
        self.pods.send_modify(|(number, pods)| {
            *number += 1;
            change(pods);
        });
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Serve for Script {
    async fn connect(&self, _: Caller, mut incoming: FromNode) -> Result<ToNode, tonic::Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (mut pods, acked, generation) = (
            self.pods.clone(),
            self.acked.clone(),
            Arc::clone(&self.generation),
        );
        tokio::spawn(async move {
            let Ok(Some(NodeMessage::Hello(hello))) = incoming.next().await else {
                return;
            };
            // A restarted agent comes with the generation of its disk.
            generation.fetch_max(
                hello.resume.map_or(0, |r| r.generation),
                std::sync::atomic::Ordering::SeqCst,
            );
            loop {
                let mut tables = Tables::default();
                let (change, pods_now) = pods.borrow_and_update().clone();
                for pod in &pods_now {
                    tables
                        .pods
                        .insert(pod.workload.uid.clone(), Arc::new(pod.clone()));
                }
                let number = generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                for part in
                    parts::split(number, None, None, &diff(&Tables::default(), &tables)).unwrap()
                {
                    let _ = sender.send(Ok(OperatorMessage::Delta(part)));
                }
                loop {
                    match incoming.next().await {
                        Ok(Some(NodeMessage::Ack { .. })) => break,
                        // It may complain at any time; its metrics say the same.
                        Ok(Some(NodeMessage::Troubles(_))) => {}
                        other => {
                            eprintln!("operator: {other:?}");
                            return;
                        }
                    }
                }
                let _ = acked.send_replace(change);
                if pods.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(UnboundedReceiverStream::new(receiver)))
    }
}
