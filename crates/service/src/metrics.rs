//! What `/metrics` answers: a prometheus registry with the process's own figures, and renderers for output that is too
//! big for it (a node has thousands of series per histogram; they are written part by part, never all at once).

use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

/// Content type of the Prometheus text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Writes series in the Prometheus text format. Whole families only: two renderers must not share a metric name.
pub trait Scrape: Send + Sync {
    /// Appends text that ends with a line feed (or nothing).
    fn render(&self, out: &mut Vec<u8>);
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

/// The parts of one exposition in order: the registry first, then each renderer.
#[derive(Clone)]
pub struct Exposition {
    registry: Registry,
    renderers: Arc<[Arc<dyn Scrape>]>,
}

impl Exposition {
    /// Joins a registry and further renderers.
    #[must_use]
    pub fn new(registry: Registry, renderers: Vec<Arc<dyn Scrape>>) -> Self {
        Self {
            registry,
            renderers: renderers.into(),
        }
    }

    /// Writes part `number`; false when there is no such part.
    pub(crate) fn render(&self, number: usize, out: &mut Vec<u8>) -> bool {
        if number == 0 {
            if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), out) {
                tracing::error!(%error, "a metric family cannot be written and is left out of the scrape");
            }
            return true;
        }
        match self.renderers.get(number - 1) {
            Some(renderer) => {
                renderer.render(out);
                true
            }
            None => false,
        }
    }
}
