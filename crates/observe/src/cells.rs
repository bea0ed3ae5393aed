//! What one worker counts for one outcome of one edge: plain cells that only this worker writes.

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::histogram::{Histogram, add};
use crate::labels::OVERFLOW;

/// How a request ended, as labels tell outcomes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outcome {
    /// HTTP status that the client got; 0 = no response.
    pub code: u16,
    /// Envoy's flag, `-` for none.
    pub flags: &'static str,
    /// gRPC status.
    pub grpc: Option<u16>,
}

/// Cells of one kind of series.
pub(crate) trait Cells: Default + Send + Sync + 'static {
    /// What tells outcomes of one edge apart.
    type Key: Copy + Ord + Hash + std::fmt::Debug;

    /// The key of the series that takes what is over the limit.
    const OVERFLOW_KEY: Self::Key;

    /// A number that grows whenever anything is counted.
    fn activity(&self) -> u64;

    /// Records counted.
    fn records(&self) -> u64;

    /// Forgets everything; only the writing thread may.
    fn clear(&self);
}

/// Requests.
#[derive(Debug, Default)]
pub(crate) struct RequestCells {
    /// Milliseconds in thousandths, that is microseconds. Its count is the number of requests.
    pub(crate) duration: Histogram,
    /// Bytes in thousandths.
    pub(crate) request_bytes: Histogram,
    /// Bytes in thousandths.
    pub(crate) response_bytes: Histogram,
}

impl RequestCells {
    pub(crate) fn record(&self, duration_micros: u64, request_bytes: u64, response_bytes: u64) {
        self.duration.record(duration_micros);
        self.request_bytes
            .record(request_bytes.saturating_mul(1000));
        self.response_bytes
            .record(response_bytes.saturating_mul(1000));
    }
}

impl Cells for RequestCells {
    type Key = Outcome;
    const OVERFLOW_KEY: Outcome = Outcome {
        code: 0,
        flags: OVERFLOW,
        grpc: None,
    };

    fn activity(&self) -> u64 {
        self.duration.count()
    }

    fn records(&self) -> u64 {
        self.duration.count()
    }

    fn clear(&self) {
        self.duration.clear();
        self.request_bytes.clear();
        self.response_bytes.clear();
    }
}

/// Connections carried as bytes.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCells {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    /// Server to client.
    pub(crate) sent: AtomicU64,
    /// Client to server.
    pub(crate) received: AtomicU64,
}

impl ConnectionCells {
    fn all(&self) -> [&AtomicU64; 4] {
        [&self.opened, &self.closed, &self.sent, &self.received]
    }
}

impl Cells for ConnectionCells {
    type Key = &'static str;
    const OVERFLOW_KEY: &'static str = OVERFLOW;

    fn activity(&self) -> u64 {
        self.all()
            .into_iter()
            .map(|cell| cell.load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }

    fn records(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        for cell in self.all() {
            cell.store(0, Ordering::Relaxed);
        }
    }
}

/// Cells and whether the registry shows them. A series that idles is taken off; its writer sees that on its next record
/// and begins again from nothing, as Prometheus expects of a series that comes back.
#[derive(Debug, Default)]
pub(crate) struct Tracked<C> {
    pub(crate) cells: C,
    shown: AtomicBool,
}

impl<C: Cells> Tracked<C> {
    /// Whether the registry holds the cells.
    pub(crate) fn is_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }

    /// The registry takes the cells off.
    pub(crate) fn hide(&self) {
        self.shown.store(false, Ordering::Relaxed);
    }

    /// The writer begins anew; it registers the cells afterwards.
    pub(crate) fn begin(&self) {
        self.cells.clear();
        self.shown.store(true, Ordering::Relaxed);
    }
}

/// Adds to a connection cell.
pub(crate) fn count(cell: &AtomicU64, amount: u64) {
    add(cell, amount);
}
