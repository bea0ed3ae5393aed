//! Load from inside a pod over HTTP/1.1 keep-alive: `open` keeps a rate whatever the answers do and counts latency from
//! the time a request was due; `closed` sends the next request when the last one is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_netns::Netns;

use crate::verb::http::{Connection, Target, request};

/// Longest latency that is told apart, microseconds.
const LONGEST_MICROS: u64 = 60_000_000;
/// A connection that failed is tried again after this.
const RECONNECT: Duration = Duration::from_millis(50);
/// Significant digits of latencies.
const DIGITS: u8 = 3;

/// What to send, and from where.
#[derive(Clone, Debug)]
pub struct Source {
    /// The pod's namespace.
    pub netns: Arc<Netns>,
    /// Targets, taken in turn.
    pub targets: Vec<Target>,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// Connections at once.
    pub connections: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a response, by the error's words.
    pub errors: BTreeMap<String, u64>,
    /// Latency of all responses, microseconds.
    pub latency: Histogram<u64>,
    /// From first to last.
    pub elapsed: Duration,
}

impl Outcome {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)?,
            elapsed: Duration::ZERO,
        })
    }

    /// All responses.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Responses below 500.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.statuses.range(..500).map(|(_, count)| count).sum()
    }

    /// Requests without a response.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    fn take(&mut self, since: Instant, result: anyhow::Result<u16>) {
        match result {
            Ok(status) => {
                *self.statuses.entry(status).or_default() += 1;
                let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(LONGEST_MICROS);
                self.latency.saturating_record(micros.max(1));
            }
            Err(error) => *self.errors.entry(format!("{error:#}")).or_default() += 1,
        }
    }
}

/// Sends `rate` requests a second until `stop`. A request that had to wait for a free connection counts from its due
/// time, so that a stall is seen by every request that it delayed.
///
/// # Errors
/// None that load can cause; the histogram's bounds are constants.
pub async fn open(source: Source, rate: f64, stop: CancellationToken) -> anyhow::Result<Outcome> {
    let schedule = Arc::new(Schedule::Rate {
        next: AtomicU64::new(0),
        start: Instant::now(),
        rate,
    });
    drive(source, schedule, stop).await
}

/// Sends as fast as the answers come, until `stop` or for `requests`.
///
/// # Errors
/// As [`open`].
pub async fn closed(
    source: Source,
    requests: Option<u64>,
    stop: CancellationToken,
) -> anyhow::Result<Outcome> {
    let limit = requests.unwrap_or(u64::MAX);
    drive(
        source,
        Arc::new(Schedule::Eager {
            next: AtomicU64::new(0),
            limit,
        }),
        stop,
    )
    .await
}

enum Schedule {
    Rate {
        next: AtomicU64,
        start: Instant,
        rate: f64,
    },
    Eager {
        next: AtomicU64,
        limit: u64,
    },
}

impl Schedule {
    /// Number and due time of the next request; none when all are sent.
    fn next(&self) -> Option<(u64, Instant)> {
        match self {
            Self::Rate { next, start, rate } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = Duration::from_secs_f64(number as f64 / rate.max(0.001));
                Some((number, *start + due))
            }
            Self::Eager { next, limit } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                (number < *limit).then(|| (number, Instant::now()))
            }
        }
    }
}

async fn drive(
    source: Source,
    schedule: Arc<Schedule>,
    stop: CancellationToken,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let outcome = Arc::new(Mutex::new(Outcome::new()?));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..source.connections.max(1) {
        let (source, schedule) = (source.clone(), Arc::clone(&schedule));
        let (outcome, stop) = (Arc::clone(&outcome), stop.clone());
        workers.spawn(async move { work(&source, &schedule, &outcome, &stop).await });
    }
    while workers.join_next().await.is_some() {}
    let mut outcome = outcome
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    outcome.elapsed = started.elapsed();
    Ok(outcome)
}

/// One connection: takes the next request that is due, sends it, counts.
async fn work(
    source: &Source,
    schedule: &Schedule,
    outcome: &Mutex<Outcome>,
    stop: &CancellationToken,
) {
    let count = |since: Instant, result: anyhow::Result<u16>| {
        outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(since, result);
    };
    let mut connections: BTreeMap<std::net::SocketAddr, Connection> = BTreeMap::new();
    while let Some((number, due)) = schedule.next() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        let index = usize::try_from(number).unwrap_or(0) % source.targets.len().max(1);
        let Some(target) = source.targets.get(index) else {
            return;
        };
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = exchange(source, target, &mut connections) => result,
        };
        let failed = result.is_err();
        count(due, result);
        if failed {
            connections.remove(&target.address);
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

async fn exchange(
    source: &Source,
    target: &Target,
    connections: &mut BTreeMap<std::net::SocketAddr, Connection>,
) -> anyhow::Result<u16> {
    let headers: Vec<_> = source
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let request = request(target, &headers)?;
    let connection = match connections
        .remove(&target.address)
        .filter(Connection::is_open)
    {
        Some(connection) => connection,
        None => Connection::from(&source.netns, target.address).await?,
    };
    let connection = connections.entry(target.address).or_insert(connection);
    Ok(connection.send(request).await?.status)
}
