//! Snapshots in, generations out. The only writer: it alone counts generations, so what two nodes run can be compared.
//!
//! The first change after a quiet time is compiled at once; changes that follow closely are taken together, except when
//! an endpoint has gone, because requests fail on it until the nodes know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use weft_compile::{Compiled, Compiler, Diagnostic, Level, Settings};
use weft_k8s::core::{Endpoint, EndpointSlice};
use weft_model::delta::diff;
use weft_model::table::Tables;
use weft_service::ready::{Part, Up};

use crate::metrics::Metrics;
use crate::published::{Generations, Published};
use crate::source::{Changes, Manifests};

/// Pause between two compilations when changes follow closely.
const PAUSE: Duration = Duration::from_millis(50);
/// A loss of this share of all endpoints at once is worth a warning (in percent) ...
const SHRINK_PERCENT: usize = 30;
/// ... when there were at least so many.
const SHRINK_FROM: usize = 10;

/// New findings that are logged one by one; the page has them all.
const LOGGED_FINDINGS: usize = 20;

/// The writer.
pub struct Pipeline {
    settings: Settings,
    /// Remembers what a changed route need not look at again.
    compiler: Compiler,
    metrics: Metrics,
    ready: Part,
    up: Option<Up>,
    published: watch::Sender<Arc<Published>>,
    generations: Generations,
    floor: watch::Receiver<u64>,
}

/// What sessions and pages see of the pipeline.
#[derive(Clone, Debug)]
pub struct Handle {
    published: watch::Receiver<Arc<Published>>,
    generations: Generations,
    floor: Arc<watch::Sender<u64>>,
}

impl Handle {
    /// The newest generation.
    #[must_use]
    pub fn current(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// Wakes on every generation.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// The count of generations.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// An operator before us has given this number: count on above it, and give the newest tables a higher one too, so
    /// that nobody sees the mesh go back.
    pub fn count_above(&self, seen: u64) {
        if self.generations.count_above(seen) {
            self.raise(seen);
        }
    }

    /// As [`Handle::count_above`]; returns when the newest tables have a higher number.
    pub async fn take_over(&self, last: u64) {
        self.generations.count_above(last);
        self.raise(last);
        let mut published = self.published.clone();
        // Fails only when the pipeline has ended, and then nothing is published any more.
        let _ = published
            .wait_for(|published| published.generation > last)
            .await;
    }

    fn raise(&self, seen: u64) {
        self.floor
            .send_if_modified(|floor| seen > std::mem::replace(floor, seen.max(*floor)));
    }
}

impl Pipeline {
    /// A pipeline that has published nothing, and its other end.
    #[must_use]
    pub fn new(settings: Settings, metrics: Metrics, ready: Part) -> (Self, Handle) {
        let (published, seen) = watch::channel(Arc::default());
        let generations = Generations::default();
        let (floor, floors) = watch::channel(0);
        let pipeline = Self {
            settings,
            compiler: Compiler::default(),
            metrics,
            ready,
            up: None,
            published,
            generations: generations.clone(),
            floor: floors,
        };
        (
            pipeline,
            Handle {
                published: seen,
                generations,
                floor: Arc::new(floor),
            },
        )
    }

    /// Compiles and publishes for as long as the source gives something.
    pub async fn run(mut self, mut changes: Changes) {
        let mut last: Option<Arc<Manifests>> = None;
        let mut rest_until = Instant::now();
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Ok(()) = self.floor.changed() => {
                    self.renumber();
                    continue;
                }
            }
            while let Some(remaining) = rest_until.checked_duration_since(Instant::now()) {
                let newest = changes.borrow_and_update().clone();
                if loses_endpoints(last.as_deref(), newest.as_deref()) {
                    break;
                }
                // Another change only restarts this look, not the pause.
                let _ = tokio::time::timeout(remaining, changes.changed()).await;
            }
            let Some(manifests) = changes.borrow_and_update().clone() else {
                continue;
            };
            self.build(&manifests).await;
            last = Some(manifests);
            rest_until = Instant::now() + PAUSE;
        }
    }

    async fn build(&mut self, manifests: &Arc<Manifests>) {
        let previous = self.published.borrow().clone();
        let started = Instant::now();
        let (input, settings, before) = (
            Arc::clone(manifests),
            self.settings.clone(),
            Arc::clone(&previous.compiled),
        );
        let mut compiler = std::mem::take(&mut self.compiler);
        let built = tokio::task::spawn_blocking(move || {
            let compiled = compiler.compile(&before, &input.snapshot, &settings);
            let same = diff(&before.tables, &compiled.tables).is_empty();
            (compiler, compiled, same)
        });
        let (mut compiled, same) = match built.await {
            Ok((compiler, compiled, same)) => {
                self.compiler = compiler;
                (compiled, same)
            }
            Err(error) => {
                // Compile is total; should it panic all the same, the mesh keeps what it has.
                tracing::error!(%error, "compiling has failed; the last generation stays in force");
                return;
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let diagnostics = gather(std::mem::take(&mut compiled.diagnostics), manifests);
        self.metrics.compiled(seconds, manifests, &diagnostics);
        self.report(&previous, &compiled, &diagnostics);
        let first = previous.generation == 0;
        let generation = if same && !first {
            previous.generation
        } else {
            self.generations.next()
        };
        let next = previous
            .next(generation, compiled, diagnostics)
            .made_of(Arc::clone(manifests));
        if generation != previous.generation {
            tracing::info!(
                generation,
                milliseconds = started.elapsed().as_millis(),
                "published"
            );
        }
        self.publish(next);
        if self.up.is_none() {
            self.up = Some(self.ready.up());
        }
    }

    /// The same tables under a number that no operator has given before.
    fn renumber(&mut self) {
        let floor = *self.floor.borrow_and_update();
        let newest = self.published.borrow().clone();
        if newest.generation == 0 || newest.generation > floor {
            return;
        }
        let generation = self.generations.next();
        tracing::info!(
            generation,
            was = newest.generation,
            "an operator before this one has counted further"
        );
        let mut next = (*newest).clone();
        next.generation = generation;
        self.publish(next);
    }

    fn publish(&mut self, mut next: Published) {
        next.since = Some(std::time::Instant::now());
        self.metrics.generation(next.generation);
        self.published.send_replace(Arc::new(next));
    }

    /// One line per new finding, and a warning when much has gone.
    fn report(&self, previous: &Published, compiled: &Compiled, diagnostics: &[Diagnostic]) {
        let known: BTreeSet<&Diagnostic> = previous.diagnostics.iter().collect();
        let news = diagnostics
            .iter()
            .filter(|finding| finding.level > Level::Info && !known.contains(finding));
        for finding in news.clone().take(LOGGED_FINDINGS) {
            tracing::warn!("{finding}");
        }
        let more = news.count().saturating_sub(LOGGED_FINDINGS);
        if more > 0 {
            tracing::warn!(more, "further findings: see /debug/diagnostics");
        }
        let (before, after) = (
            endpoints(&previous.compiled.tables),
            endpoints(&compiled.tables),
        );
        if before >= SHRINK_FROM && after * 100 < before * (100 - SHRINK_PERCENT) {
            tracing::warn!(
                before,
                after,
                "many endpoints have gone at once; were manifests removed by mistake?"
            );
        }
    }
}

fn endpoints(tables: &Tables) -> usize {
    tables
        .endpoints
        .values()
        .flat_map(|endpoints| endpoints.ports.values())
        .map(Vec::len)
        .sum()
}

/// Findings of reading and of compiling, sorted.
fn gather(mut diagnostics: Vec<Diagnostic>, manifests: &Manifests) -> Vec<Diagnostic> {
    diagnostics.extend(manifests.errors.iter().map(Diagnostic::from));
    diagnostics.sort();
    diagnostics.dedup();
    diagnostics
}

/// Whether an address that could be used in `old` cannot in `new`.
fn loses_endpoints(old: Option<&Manifests>, new: Option<&Manifests>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return false;
    };
    let now = &new.snapshot.endpoint_slices;
    old.snapshot
        .endpoint_slices
        .iter()
        .any(|(name, before)| match now.get(name) {
            None => ready(&before.value).next().is_some(),
            Some(after) if Arc::ptr_eq(&before.value, &after.value) => false,
            Some(after) => {
                let left: BTreeSet<&str> = ready(&after.value).collect();
                ready(&before.value).any(|address| !left.contains(address))
            }
        })
}

fn ready(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    let ready = slice.endpoints.iter().filter(|endpoint| is_ready(endpoint));
    ready
        .flat_map(|endpoint| &endpoint.addresses)
        .map(String::as_str)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.ready != Some(false) && endpoint.conditions.terminating != Some(true)
}

#[cfg(test)]
mod tests;
