//! All series of a node: the cells of all workers that belong to each, a bound on their number, and their end when they idle.
//!
//! Workers come here once per new outcome of an edge; scrapes take a snapshot and read the cells without any lock, so a
//! slow scrape never holds a worker up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use crate::cells::{Cells, ConnectionCells, RequestCells, Tracked};
use crate::edge::Shard;
use crate::labels::{EdgeKey, Reporters, Shown};
use crate::render::Scrape;

/// Outcomes of edges that a node shows; what comes after is added up in one overflow series.
pub const MAX_SERIES: usize = 2_000;
/// A series on which nothing was counted for this long is taken off (more than two scrapes at any usual interval).
pub const IDLE_MILLIS: u64 = 600_000;

/// Bounds of the metrics of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Outcomes of edges that are shown.
    pub max_series: usize,
    /// Milliseconds after which an idle series is taken off.
    pub idle_millis: u64,
    /// Whether request and response sizes are histograms; else only sum and count.
    pub size_histograms: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_series: MAX_SERIES,
            idle_millis: IDLE_MILLIS,
            size_histograms: true,
        }
    }
}

/// The request and connection metrics of one process.
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with the usual bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Metrics with other bounds.
    #[must_use]
    pub fn with(settings: Settings) -> Self {
        let registry = Registry {
            settings,
            state: Mutex::default(),
            forgotten: AtomicU64::new(0),
        };
        Self {
            registry: Arc::new(registry),
        }
    }

    /// The metrics of one more worker thread.
    #[must_use]
    pub fn shard(&self) -> Arc<Shard> {
        Arc::new(Shard::new(Arc::clone(&self.registry)))
    }

    /// Begins a scrape at `now_millis` (any clock that does not go back, the same for all calls). Takes series off that
    /// have idled.
    #[must_use]
    pub fn scrape(&self, now_millis: u64) -> Scrape {
        let (requests, connections) = self.registry.snapshot();
        let requests = self.registry.alive(requests, now_millis);
        let connections = self.registry.alive(connections, now_millis);
        Scrape::new(
            self.registry.settings,
            requests,
            connections,
            self.registry.forgotten.load(Ordering::Relaxed),
        )
    }

    /// Appends everything as Prometheus text. [`Metrics::scrape`] gives the same in pieces.
    pub fn render(&self, now_millis: u64, out: &mut Vec<u8>) {
        let mut scrape = self.scrape(now_millis);
        while scrape.next_piece(out) {}
    }
}

/// Series of one kind by what they show.
type Series<C> = HashMap<(Shown, <C as Cells>::Key), Arc<Entry<C>>>;

/// All entries at one moment.
type Snapshot = (Entries<RequestCells>, Entries<ConnectionCells>);

/// Entries of one kind.
type Entries<C> = Vec<Arc<Entry<C>>>;

/// Shared by all shards.
pub(crate) struct Registry {
    settings: Settings,
    state: Mutex<State>,
    /// Records of overflow series that were taken off: the total never goes back.
    forgotten: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    requests: Series<RequestCells>,
    connections: Series<ConnectionCells>,
}

/// One series per reporter: who, how it ended, and the cells of all workers.
pub(crate) struct Entry<C: Cells> {
    pub(crate) shown: Shown,
    pub(crate) key: C::Key,
    cells: Mutex<Vec<(Reporters, Arc<Tracked<C>>)>>,
    /// Activity when it was last seen to change, and when that was (0 = never seen).
    activity: AtomicU64,
    since: AtomicU64,
}

impl<C: Cells> Entry<C> {
    fn new(shown: Shown, key: C::Key) -> Self {
        let (activity, since) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            shown,
            key,
            cells: Mutex::default(),
            activity,
            since,
        }
    }

    /// The cells whose records belong to one reporter.
    pub(crate) fn of(&self, reporter: fn(Reporters) -> bool) -> Vec<Arc<Tracked<C>>> {
        let cells = lock(&self.cells);
        cells
            .iter()
            .filter(|(reporters, _)| reporter(*reporters))
            .map(|(_, cells)| Arc::clone(cells))
            .collect()
    }

    /// Whether this is the series that takes what is over the limit.
    pub(crate) fn is_overflow(&self) -> bool {
        self.key == C::OVERFLOW_KEY
    }

    fn total(&self, of: fn(&C) -> u64) -> u64 {
        lock(&self.cells)
            .iter()
            .map(|(_, tracked)| of(&tracked.cells))
            .fold(0, u64::wrapping_add)
    }

    /// Records counted by all workers.
    pub(crate) fn records(&self) -> u64 {
        self.total(C::records)
    }

    /// Whether nothing was counted since `idle` milliseconds before `now`.
    fn has_idled(&self, now: u64, idle: u64) -> bool {
        let activity = self.total(C::activity);
        let before = self.activity.swap(activity, Ordering::Relaxed);
        let since = self.since.load(Ordering::Relaxed);
        if activity != before || since == 0 {
            self.since.store(now.max(1), Ordering::Relaxed);
            return false;
        }
        now.saturating_sub(since) >= idle
    }
}

/// The series of one kind of cells.
pub(crate) trait Table<C: Cells> {
    /// Where they are.
    fn series(state: &mut State) -> &mut Series<C>;

    /// Takes the cells of an outcome up, from nothing; false when there is no room.
    fn register(&self, key: &EdgeKey, outcome: C::Key, tracked: &Arc<Tracked<C>>) -> bool;

    /// Takes cells up into the overflow series.
    fn register_overflow(&self, reporters: Reporters, tracked: &Arc<Tracked<C>>);
}

impl Table<RequestCells> for Registry {
    fn series(state: &mut State) -> &mut Series<RequestCells> {
        &mut state.requests
    }

    fn register(
        &self,
        key: &EdgeKey,
        outcome: crate::Outcome,
        tracked: &Arc<Tracked<RequestCells>>,
    ) -> bool {
        self.take_up(key, outcome, tracked)
    }

    fn register_overflow(&self, reporters: Reporters, tracked: &Arc<Tracked<RequestCells>>) {
        self.take_up_overflow(reporters, tracked);
    }
}

impl Table<ConnectionCells> for Registry {
    fn series(state: &mut State) -> &mut Series<ConnectionCells> {
        &mut state.connections
    }

    fn register(
        &self,
        key: &EdgeKey,
        outcome: &'static str,
        tracked: &Arc<Tracked<ConnectionCells>>,
    ) -> bool {
        self.take_up(key, outcome, tracked)
    }

    fn register_overflow(&self, reporters: Reporters, tracked: &Arc<Tracked<ConnectionCells>>) {
        self.take_up_overflow(reporters, tracked);
    }
}

impl Registry {
    fn take_up<C: Cells>(&self, key: &EdgeKey, outcome: C::Key, tracked: &Arc<Tracked<C>>) -> bool
    where
        Self: Table<C>,
    {
        let mut state = lock(&self.state);
        let room = state.requests.len() + state.connections.len() < self.settings.max_series;
        let series = <Self as Table<C>>::series(&mut state);
        let name = (key.shown(), outcome);
        if !room && !series.contains_key(&name) {
            return false;
        }
        join(series, name, key.reporters, tracked);
        true
    }

    fn take_up_overflow<C: Cells>(&self, reporters: Reporters, tracked: &Arc<Tracked<C>>)
    where
        Self: Table<C>,
    {
        let mut state = lock(&self.state);
        let series = <Self as Table<C>>::series(&mut state);
        join(
            series,
            (Shown::overflow(), C::OVERFLOW_KEY),
            reporters,
            tracked,
        );
    }

    fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state);
        (
            state.requests.values().cloned().collect(),
            state.connections.values().cloned().collect(),
        )
    }

    /// Takes off what has idled; the rest in a stable order.
    fn alive<C: Cells>(&self, entries: Vec<Arc<Entry<C>>>, now: u64) -> Vec<Arc<Entry<C>>>
    where
        Self: Table<C>,
    {
        let idle = self.settings.idle_millis;
        let (idled, mut alive): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.has_idled(now, idle));
        if !idled.is_empty() {
            let mut state = lock(&self.state);
            for entry in idled {
                self.take_off(<Self as Table<C>>::series(&mut state), entry);
            }
        }
        alive.sort_by(|a, b| (&a.shown, a.key).cmp(&(&b.shown, b.key)));
        alive
    }

    /// The cells are hidden under the lock that registering takes, so no writer joins an entry that is gone.
    fn take_off<C: Cells>(&self, series: &mut Series<C>, entry: Arc<Entry<C>>) {
        series.remove(&(entry.shown.clone(), entry.key));
        if entry.is_overflow() {
            self.forgotten.fetch_add(entry.records(), Ordering::Relaxed);
        }
        for (_, tracked) in lock(&entry.cells).iter() {
            tracked.hide();
        }
    }
}

fn join<C: Cells>(
    series: &mut Series<C>,
    name: (Shown, C::Key),
    reporters: Reporters,
    tracked: &Arc<Tracked<C>>,
) {
    tracked.begin();
    let entry = series
        .entry(name)
        .or_insert_with_key(|(shown, key)| Arc::new(Entry::new(shown.clone(), *key)));
    lock(&entry.cells).push((reporters, Arc::clone(tracked)));
}

/// No lock here guards anything that a panic could leave half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
