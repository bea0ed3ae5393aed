//! What `/metrics` answers: a prometheus registry with the process's own figures, and series that are too many
//! for it (a node has thousands per histogram; they are pulled piece by piece, never all at once).

use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

/// Content type of the Prometheus text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Series in the Prometheus text format, too many for a registry. Whole families only: two of these must not share a
/// metric name.
pub trait Scrape: Send + Sync {
    /// Begins a scrape; what is shown is what is counted from now on until each piece is pulled.
    fn begin(&self) -> Box<dyn Pieces>;
}

/// A scrape in progress: its text a piece at a time, so that it costs one piece's memory however long it is.
pub trait Pieces: Send {
    /// Appends the next piece, whole lines; false when there was none left. A piece may be empty.
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool;
}

/// A registry with the process's metrics (`process_*`) and `weft_build_info{component, version}`.
///
/// # Errors
/// Never in practice: the names are fixed and registered once.
pub fn registry(component: &str, version: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let options = Opts::new(
        "weft_build_info",
        "Constant 1; the labels name program and version.",
    );
    let info = IntGaugeVec::new(options, &["component", "version"])?;
    info.with_label_values(&[component, version]).set(1);
    registry.register(Box::new(info))?;
    Ok(registry)
}

/// The parts of one exposition in order: the registry first, then each of the others.
#[derive(Clone)]
pub struct Exposition {
    registry: Registry,
    others: Arc<[Arc<dyn Scrape>]>,
}

/// An exposition in progress.
pub(crate) struct Running {
    exposition: Exposition,
    /// Next part: 0 is the registry.
    part: usize,
    current: Option<Box<dyn Pieces>>,
}

impl Exposition {
    /// Joins a registry and further series.
    #[must_use]
    pub fn new(registry: Registry, others: Vec<Arc<dyn Scrape>>) -> Self {
        Self {
            registry,
            others: others.into(),
        }
    }

    pub(crate) fn begin(self) -> Running {
        Running {
            exposition: self,
            part: 0,
            current: None,
        }
    }
}

impl Pieces for Running {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(current) = &mut self.current {
            if current.next_piece(out) {
                return true;
            }
            self.current = None;
        }
        self.part += 1;
        if self.part == 1 {
            let families = self.exposition.registry.gather();
            if let Err(error) = TextEncoder::new().encode(&families, out) {
                tracing::error!(%error, "a metric family cannot be written and is left out of the scrape");
            }
            return true;
        }
        let next = self.exposition.others.get(self.part - 2);
        self.current = next.map(|scrape| scrape.begin());
        self.current.is_some()
    }
}
