//! The hot half: an [`Edge`] is looked up once, kept by whoever uses it, and then costs a few plain stores per record.
//!
//! Every shard belongs to one worker thread, the only one that records through it and its edges. Recording from two
//! threads at once would lose counts (never more than that), because cells are not read-modify-written.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use foldhash::HashMap;

use crate::cells::{Cells, ConnectionCells, Outcome, RequestCells, Tracked, count};
use crate::labels::EdgeKey;
use crate::registry::{Registry, Table};

/// Outcomes of one kind that one edge tells apart; what comes after goes to the overflow series.
pub(crate) const MAX_OUTCOMES: usize = 64;
/// Outcomes per block of the list: most edges see no more.
const BLOCK: usize = 6;
/// Edges at which a shard first looks for those that nobody uses any more.
const CLEAN_FROM: usize = 64;

/// One worker's metrics.
pub struct Shard {
    registry: Arc<Registry>,
    overflow: Arc<Overflow>,
    edges: Mutex<Edges>,
}

#[derive(Default)]
struct Edges {
    by_key: HashMap<EdgeKey, Arc<Edge>>,
    cleaned: usize,
}

/// Where one worker counts what the registry has no room for, by reporters.
#[derive(Default)]
struct Overflow {
    requests: [OnceLock<Arc<Tracked<RequestCells>>>; 3],
    connections: [OnceLock<Arc<Tracked<ConnectionCells>>>; 3],
}

/// The cells of one edge on one worker.
pub struct Edge {
    key: EdgeKey,
    registry: Arc<Registry>,
    overflow: Arc<Overflow>,
    requests: Slots<RequestCells>,
    connections: Slots<ConnectionCells>,
}

impl Shard {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            overflow: Arc::default(),
            edges: Mutex::default(),
        }
    }

    /// The cells of an edge. Costs a hash of all labels: keep what you get.
    #[must_use]
    pub fn edge(&self, key: &EdgeKey) -> Arc<Edge> {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(edge) = edges.by_key.get(key) {
            return Arc::clone(edge);
        }
        if edges.by_key.len() >= CLEAN_FROM.max(2 * edges.cleaned) {
            edges
                .by_key
                .retain(|_, edge| Arc::strong_count(edge) > 1 || edge.is_shown());
            edges.cleaned = edges.by_key.len();
        }
        let edge = Arc::new(Edge {
            key: key.clone(),
            registry: Arc::clone(&self.registry),
            overflow: Arc::clone(&self.overflow),
            requests: Slots::default(),
            connections: Slots::default(),
        });
        edges.by_key.insert(key.clone(), Arc::clone(&edge));
        edge
    }

    /// Edges that the shard remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_key
            .len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Edge {
    /// Counts a request when it has ended.
    pub fn request(
        &self,
        outcome: Outcome,
        duration_micros: u64,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let cells = self.requests.get(outcome, self, &self.overflow.requests);
        cells
            .cells
            .record(duration_micros, request_bytes, response_bytes);
    }

    /// Counts a connection that was opened.
    pub fn tcp_opened(&self) {
        count(&self.connection("-").cells.opened, 1);
    }

    /// Counts bytes as they go by: `sent` from server to client, `received` from client to server.
    pub fn tcp_bytes(&self, sent: u64, received: u64) {
        let tracked = self.connection("-");
        count(&tracked.cells.sent, sent);
        count(&tracked.cells.received, received);
    }

    /// Counts a connection that was closed; `flags` say why, `-` for no particular reason.
    pub fn tcp_closed(&self, flags: &'static str) {
        count(&self.connection(flags).cells.closed, 1);
    }

    fn connection(&self, flags: &'static str) -> &Arc<Tracked<ConnectionCells>> {
        self.connections
            .get(flags, self, &self.overflow.connections)
    }

    fn is_shown(&self) -> bool {
        self.requests.is_shown() || self.connections.is_shown()
    }
}

/// An append-only list of outcomes that is read without a lock. The one that was hit last is tried first.
struct Slots<C: Cells> {
    first: Block<C>,
    last: AtomicUsize,
}

struct Block<C: Cells> {
    slots: [OnceLock<Slot<C>>; BLOCK],
    next: OnceLock<Box<Block<C>>>,
}

struct Slot<C: Cells> {
    key: C::Key,
    tracked: Arc<Tracked<C>>,
    /// Whether the cells are this edge's own and not the shard's overflow.
    own: bool,
}

impl<C: Cells> Default for Block<C> {
    fn default() -> Self {
        Self {
            slots: Default::default(),
            next: OnceLock::new(),
        }
    }
}

impl<C: Cells> Default for Slots<C> {
    fn default() -> Self {
        Self {
            first: Block::default(),
            last: AtomicUsize::new(0),
        }
    }
}

impl<C: Cells> Slots<C>
where
    Registry: Table<C>,
{
    /// The cells of an outcome, registered.
    fn get<'e>(
        &'e self,
        key: C::Key,
        edge: &'e Edge,
        overflow: &'e [OnceLock<Arc<Tracked<C>>>; 3],
    ) -> &'e Arc<Tracked<C>> {
        let last = self.last.load(Ordering::Relaxed);
        if let Some(slot) = self.first.slots.get(last).and_then(OnceLock::get)
            && slot.key == key
            && slot.tracked.is_shown()
        {
            return &slot.tracked;
        }
        self.search(key, edge, overflow)
    }

    fn search<'e>(
        &'e self,
        key: C::Key,
        edge: &'e Edge,
        overflow: &'e [OnceLock<Arc<Tracked<C>>>; 3],
    ) -> &'e Arc<Tracked<C>> {
        let mut block = &self.first;
        for position in 0..MAX_OUTCOMES {
            let within = position % BLOCK;
            if position > 0 && within == 0 {
                block = block.next.get_or_init(Box::default);
            }
            let Some(cell) = block.slots.get(within) else {
                break;
            };
            let slot = cell.get_or_init(|| first_use(key, edge, overflow));
            if slot.key == key {
                self.last.store(position, Ordering::Relaxed);
                if !slot.tracked.is_shown() {
                    show_again(slot, edge);
                }
                return &slot.tracked;
            }
        }
        overflow_cells(edge, overflow)
    }

    fn is_shown(&self) -> bool {
        let mut block = Some(&self.first);
        while let Some(current) = block {
            let mut slots = current.slots.iter().filter_map(OnceLock::get);
            if slots.any(|slot| slot.own && slot.tracked.is_shown()) {
                return true;
            }
            block = current.next.get().map(|next| &**next);
        }
        false
    }
}

fn first_use<C: Cells>(
    key: C::Key,
    edge: &Edge,
    overflow: &[OnceLock<Arc<Tracked<C>>>; 3],
) -> Slot<C>
where
    Registry: Table<C>,
{
    let tracked = Arc::new(Tracked::default());
    if edge.registry.register(&edge.key, key, &tracked) {
        return Slot {
            key,
            tracked,
            own: true,
        };
    }
    Slot {
        key,
        tracked: Arc::clone(overflow_cells(edge, overflow)),
        own: false,
    }
}

/// A series that idled and was taken off comes back, as overflow where there is no room any more.
fn show_again<C: Cells>(slot: &Slot<C>, edge: &Edge)
where
    Registry: Table<C>,
{
    if !(slot.own && edge.registry.register(&edge.key, slot.key, &slot.tracked)) {
        edge.registry
            .register_overflow(edge.key.reporters, &slot.tracked);
    }
}

fn overflow_cells<'e, C: Cells>(
    edge: &Edge,
    overflow: &'e [OnceLock<Arc<Tracked<C>>>; 3],
) -> &'e Arc<Tracked<C>>
where
    Registry: Table<C>,
{
    let [source, destination, both] = overflow;
    let cell = match edge.key.reporters {
        crate::Reporters::Source => source,
        crate::Reporters::Destination => destination,
        crate::Reporters::Both => both,
    };
    let tracked = cell.get_or_init(Arc::default);
    if !tracked.is_shown() {
        edge.registry.register_overflow(edge.key.reporters, tracked);
    }
    tracked
}
