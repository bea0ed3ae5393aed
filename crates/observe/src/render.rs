//! Prometheus text of all series: a piece at a time, because a big node's scrape is tens of megabytes.
//!
//! Families are contiguous and appear once, as the format demands. A series is rendered for each reporter it has.

mod text;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::catalogue::{self, Kind, Metric};
use crate::cells::{Cells, ConnectionCells, RequestCells, Tracked};
use crate::histogram::{Histogram, Merged};
use crate::labels::{Facts, HTTP_LABELS, LABELS, OVERFLOW, Reporters, UNKNOWN};
use crate::registry::{Entry, Settings};
use text::{Number, head, histogram, pair, sample};

/// Series whose text makes one piece.
const PIECE: usize = 16;

/// A `reporter` and which cells belong to it.
type View = (&'static str, fn(Reporters) -> bool);

/// The two points of view.
const VIEWS: [View; 2] = [
    ("source", Reporters::source),
    ("destination", Reporters::destination),
];

/// A scrape in progress.
pub struct Scrape {
    settings: Settings,
    requests: Vec<Arc<Entry<RequestCells>>>,
    connections: Vec<Arc<Entry<ConnectionCells>>>,
    forgotten: u64,
    family: usize,
    position: usize,
    labels: Vec<u8>,
}

/// What one family shows of an entry.
enum Family {
    Requests,
    Sizes(&'static Metric, fn(&RequestCells) -> &Histogram, Shape),
    Connections(&'static Metric, fn(&ConnectionCells) -> u64),
    Own,
}

/// How a histogram is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Always with its buckets.
    Buckets,
    /// With buckets if the settings say so.
    BytesOfBody,
}

const FAMILIES: [Family; 9] = [
    Family::Requests,
    Family::Sizes(
        &catalogue::REQUEST_DURATION,
        |cells| &cells.duration,
        Shape::Buckets,
    ),
    Family::Sizes(
        &catalogue::REQUEST_BYTES,
        |cells| &cells.request_bytes,
        Shape::BytesOfBody,
    ),
    Family::Sizes(
        &catalogue::RESPONSE_BYTES,
        |cells| &cells.response_bytes,
        Shape::BytesOfBody,
    ),
    Family::Connections(&catalogue::TCP_SENT, |cells| {
        cells.sent.load(Ordering::Relaxed)
    }),
    Family::Connections(&catalogue::TCP_RECEIVED, |cells| {
        cells.received.load(Ordering::Relaxed)
    }),
    Family::Connections(&catalogue::TCP_OPENED, |cells| {
        cells.opened.load(Ordering::Relaxed)
    }),
    Family::Connections(&catalogue::TCP_CLOSED, |cells| {
        cells.closed.load(Ordering::Relaxed)
    }),
    Family::Own,
];

impl Scrape {
    pub(crate) fn new(
        settings: Settings,
        requests: Vec<Arc<Entry<RequestCells>>>,
        connections: Vec<Arc<Entry<ConnectionCells>>>,
        forgotten: u64,
    ) -> Self {
        Self {
            settings,
            requests,
            connections,
            forgotten,
            family: 0,
            position: 0,
            labels: Vec::with_capacity(1024),
        }
    }

    /// Appends the next piece; false when there was none left. A piece may be empty.
    pub fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(family) = FAMILIES.get(self.family) else {
            return false;
        };
        let from = self.position;
        let more = match family {
            Family::Requests | Family::Sizes(..) => from + PIECE < self.requests.len(),
            Family::Connections(..) => from + PIECE < self.connections.len(),
            Family::Own => false,
        };
        match family {
            Family::Requests => self.requests(from, out),
            Family::Sizes(metric, of, shape) => {
                let buckets = *shape == Shape::Buckets || self.settings.size_histograms;
                self.sizes(metric, *of, buckets, out);
            }
            Family::Connections(metric, of) => self.connections(metric, *of, out),
            Family::Own => self.own(out),
        }
        if more {
            self.position += PIECE;
        } else {
            self.family += 1;
            self.position = 0;
        }
        true
    }

    fn requests(&mut self, from: usize, out: &mut Vec<u8>) {
        let metric = &catalogue::REQUESTS;
        head(
            metric,
            metric.kind,
            from == 0 && !self.requests.is_empty(),
            out,
        );
        for entry in self.requests.iter().skip(from).take(PIECE) {
            for (reporter, belongs) in VIEWS {
                let cells = entry.of(belongs);
                if cells.is_empty() {
                    continue;
                }
                request_labels(entry, reporter, &mut self.labels);
                let count = cells
                    .iter()
                    .map(|tracked| tracked.cells.duration.count())
                    .fold(0, u64::wrapping_add);
                sample(
                    out,
                    metric.name,
                    "",
                    &self.labels,
                    None,
                    Number::Whole(count),
                );
            }
        }
    }

    fn sizes(
        &mut self,
        metric: &Metric,
        of: fn(&RequestCells) -> &Histogram,
        buckets: bool,
        out: &mut Vec<u8>,
    ) {
        // Sum and count without buckets are a summary: a histogram must have its last bucket.
        let kind = if buckets { metric.kind } else { Kind::Summary };
        head(
            metric,
            kind,
            self.position == 0 && !self.requests.is_empty(),
            out,
        );
        for entry in self.requests.iter().skip(self.position).take(PIECE) {
            for (reporter, belongs) in VIEWS {
                let cells = entry.of(belongs);
                if cells.is_empty() {
                    continue;
                }
                request_labels(entry, reporter, &mut self.labels);
                histogram(out, metric.name, &self.labels, &merged(&cells, of), buckets);
            }
        }
    }

    fn connections(&mut self, metric: &Metric, of: fn(&ConnectionCells) -> u64, out: &mut Vec<u8>) {
        head(
            metric,
            metric.kind,
            self.position == 0 && !self.connections.is_empty(),
            out,
        );
        for entry in self.connections.iter().skip(self.position).take(PIECE) {
            for (reporter, belongs) in VIEWS {
                let cells = entry.of(belongs);
                let value = cells
                    .iter()
                    .map(|tracked| of(&tracked.cells))
                    .fold(0, u64::wrapping_add);
                // A flag is known only when a connection closes: the other families have nothing to say about it.
                if cells.is_empty() || (value == 0 && entry.key != "-") {
                    continue;
                }
                shown_labels(entry, entry.key, reporter, &mut self.labels);
                sample(
                    out,
                    metric.name,
                    "",
                    &self.labels,
                    None,
                    Number::Whole(value),
                );
            }
        }
    }

    /// Figures about the metrics themselves.
    fn own(&self, out: &mut Vec<u8>) {
        let overflow = |entries: &mut dyn Iterator<Item = u64>| entries.fold(0, u64::wrapping_add);
        let now = overflow(
            &mut self
                .requests
                .iter()
                .filter(|entry| entry.is_overflow())
                .map(|entry| entry.records()),
        )
        .wrapping_add(overflow(
            &mut self
                .connections
                .iter()
                .filter(|entry| entry.is_overflow())
                .map(|entry| entry.records()),
        ));
        let build = concat!(
            "component=\"proxy\",tag=\"",
            env!("CARGO_PKG_VERSION"),
            "\""
        );
        let series = (self.requests.len() + self.connections.len()) as u64;
        for (metric, labels, value) in [
            (&catalogue::ISTIO_BUILD, build, 1),
            (&catalogue::METRICS_SERIES, "", series),
            (
                &catalogue::METRICS_OVERFLOW,
                "",
                self.forgotten.wrapping_add(now),
            ),
        ] {
            head(metric, metric.kind, true, out);
            sample(
                out,
                metric.name,
                "",
                labels.as_bytes(),
                None,
                Number::Whole(value),
            );
        }
    }
}

fn merged(cells: &[Arc<Tracked<RequestCells>>], of: fn(&RequestCells) -> &Histogram) -> Merged {
    let mut merged = Merged::default();
    for tracked in cells {
        merged.add(of(&tracked.cells));
    }
    merged
}

fn request_labels(entry: &Entry<RequestCells>, reporter: &'static str, out: &mut Vec<u8>) {
    shown_labels(entry, entry.key.flags, reporter, out);
    let mut number = itoa::Buffer::new();
    let [code, grpc] = HTTP_LABELS;
    let value = if entry.is_overflow() {
        OVERFLOW
    } else {
        number.format(entry.key.code)
    };
    pair(code.0, value, out);
    let value = match entry.key.grpc {
        _ if entry.is_overflow() => OVERFLOW,
        Some(status) => number.format(status),
        None => UNKNOWN,
    };
    pair(grpc.0, value, out);
}

/// Replaces `out` by the labels that all series have.
fn shown_labels<C: Cells>(
    entry: &Entry<C>,
    flags: &'static str,
    reporter: &'static str,
    out: &mut Vec<u8>,
) {
    out.clear();
    let facts = Facts {
        reporter,
        edge: &entry.shown,
        flags,
    };
    for label in &LABELS {
        pair(label.name, (label.value)(&facts), out);
    }
}
