//! One HTTP/1 connection to an endpoint, owned by the exchange that uses it.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::pool::Key;
use crate::l4::leg::Leg;
use crate::net::buffer::BufferPool;
use crate::net::copy::{Ended, Progress, copy};
use crate::net::reader::Reader;
use crate::net::writer::Writer;
use crate::net::{connect, reset_on_close};
use crate::worker::{Inside, Worker};

/// A connection to an endpoint with its two halves. Boxed, because it goes from hand to hand.
pub(crate) struct Upstream {
    /// Who may use it.
    pub(crate) key: Key,
    /// Socket.
    pub(crate) stream: TcpStream,
    /// Receiving half.
    pub(crate) reader: Reader,
    /// Sending half.
    pub(crate) writer: Writer,
    /// Whether it has carried a request before: then its failure may be a stale connection.
    pub(crate) reused: bool,
    /// Until when it may be lent, where its age counts.
    lent_until: Option<Instant>,
    /// Namespace it was opened in.
    pub(crate) inside: Inside,
}

impl Upstream {
    /// Connects along `leg`; none when that fails or takes longer than `limit`.
    pub(crate) async fn connect(worker: &Worker, leg: &Leg, limit: Duration) -> Option<Box<Self>> {
        let inside = Inside::new(Arc::clone(&worker.shared), Arc::clone(&leg.pod));
        let connecting = connect::connect(&leg.pod.netns, leg.key.to, leg.key.from);
        let stream = timeout(limit, connecting).await.ok()?.ok()?;
        Some(Box::new(Self {
            key: leg.key,
            lent_until: leg.key.lent_until(Instant::now(), worker.random()),
            stream,
            inside,
            reader: Reader::default(),
            writer: Writer::default(),
            reused: false,
        }))
    }

    /// Carries bytes between `client` and this connection until both halves have ended or one side fails. A pod that is
    /// gone counts as failed: its namespace would live for as long as a client keeps its half open.
    pub(crate) async fn carry(
        &self,
        client: &TcpStream,
        pool: &BufferPool,
        progress: Progress<'_>,
    ) -> Ended {
        tokio::select! {
            biased;
            ended = copy(client, &self.stream, pool, progress) => ended,
            () = self.inside.pod.gone.cancelled() => {
                reset_on_close(client);
                reset_on_close(&self.stream);
                Ended::ByServer
            }
        }
    }

    /// Whether another request may have it, as far as its age goes.
    pub(crate) fn is_young(&self) -> bool {
        self.lent_until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether the peer is silent and there, as an idle connection must be: closed ones and such with bytes that nobody
    /// asked for are not. Costs no system call unless an event has arrived.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0u8; 1];
        let silent = matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        silent && self.reader.is_empty() && self.writer.pending() == 0
    }
}
