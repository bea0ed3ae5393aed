//! Directories of manifests as a source. Events of the file system only say *when* to look; what is there is always
//! found by scanning, so a lost event costs at most one rescan interval.
//!
//! A scan waits until a save is over: until no event has come for a moment, and no file is open for writing that has
//! been written to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::files::{Files, is_manifest};
use super::{ManifestSource, Sink};

/// No event for this long: the save is over (editors write, rename and remove several files at once).
const QUIET: Duration = Duration::from_millis(25);
/// Events that never stop are cut here.
const LONGEST_SAVE: Duration = Duration::from_millis(250);
/// A file that is written to but not closed is waited for this long.
const LONGEST_WRITE: Duration = Duration::from_secs(2);
/// Everything is looked at this often without any event, for file systems that send none.
const RESCAN: Duration = Duration::from_secs(5);

/// Directories of manifests.
#[derive(Debug)]
pub struct Directories {
    files: Files,
}

impl Directories {
    /// Directories in rising rank.
    ///
    /// # Errors
    /// When one of them cannot be listed.
    pub fn open(roots: &[PathBuf]) -> std::io::Result<Self> {
        Ok(Self {
            files: Files::new(roots)?,
        })
    }
}

impl ManifestSource for Directories {
    async fn watch(self, sink: Sink) {
        let mut files = self.files;
        let (events, mut incoming) = mpsc::unbounded_channel();
        // Watched before the first scan, so that nothing falls between the two. Kept alive to the end.
        let _watcher = watcher(files.roots(), events);
        let mut save = Save::default();
        let mut first = true;
        loop {
            let touched = std::mem::take(&mut save.touched);
            let scanned = tokio::task::spawn_blocking(move || {
                let different = files.scan(&touched);
                let manifests = (different || first).then(|| files.manifests());
                (files, manifests)
            });
            let Ok((back, manifests)) = scanned.await else {
                return;
            };
            files = back;
            first = false;
            if let Some(manifests) = manifests {
                sink.give(manifests);
            }
            save.settle(&mut incoming).await;
        }
    }
}

/// Events since the last scan.
#[derive(Debug, Default)]
struct Save {
    /// Files that an event named.
    touched: BTreeSet<PathBuf>,
    /// Files that were written to and not closed yet.
    open: BTreeSet<PathBuf>,
}

impl Save {
    /// Returns when it is time to scan.
    async fn settle(&mut self, incoming: &mut mpsc::UnboundedReceiver<notify::Event>) {
        let rescan = Instant::now() + RESCAN;
        let mut begun: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let due = match begun {
                None => rescan,
                Some(begun) if self.open.is_empty() => (now + QUIET).min(begun + LONGEST_SAVE),
                Some(begun) => begun + LONGEST_WRITE,
            };
            // Asked here too: events that never stop must not keep the timer from being looked at.
            if due <= now {
                self.open.clear();
                return;
            }
            tokio::select! {
                biased;
                Some(event) = incoming.recv() => {
                    if self.take(event) && begun.is_none() {
                        begun = Some(Instant::now());
                    }
                }
                () = sleep_until(due) => {
                    self.open.clear();
                    return;
                }
            }
        }
    }

    /// Notes an event; false when it means nothing to us.
    fn take(&mut self, event: notify::Event) -> bool {
        match event.kind {
            // Our own reading causes these.
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => false,
            EventKind::Access(_) => {
                self.open.retain(|path| !event.paths.contains(path));
                self.touch(event.paths)
            }
            EventKind::Modify(notify::event::ModifyKind::Data(_)) => {
                self.open
                    .extend(event.paths.iter().filter(|path| is_manifest(path)).cloned());
                self.touch(event.paths)
            }
            _ => {
                self.open.retain(|path| !event.paths.contains(path));
                self.touch(event.paths)
            }
        }
    }

    fn touch(&mut self, paths: Vec<PathBuf>) -> bool {
        let before = self.touched.len();
        // Directories and links change what is found below them, so they count too; other files do not.
        let matters = |path: &Path| is_manifest(path) || path.extension().is_none();
        let any = paths.is_empty() || paths.iter().any(|path| matters(path));
        self.touched
            .extend(paths.into_iter().filter(|path| is_manifest(path)));
        any || self.touched.len() > before
    }
}

fn watcher(
    roots: &[PathBuf],
    events: mpsc::UnboundedSender<notify::Event>,
) -> Option<RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        // An error (queue overflow) counts as an event without a path: look at everything.
        let event = event.unwrap_or_else(|_| notify::Event::new(EventKind::Any));
        let _ = events.send(event);
    };
    let started = notify::recommended_watcher(handler).and_then(|mut watcher| {
        roots
            .iter()
            .try_for_each(|root| watcher.watch(root, RecursiveMode::Recursive))?;
        Ok(watcher)
    });
    match started {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            let seconds = RESCAN.as_secs();
            tracing::warn!(%error, "cannot watch the manifests (fs.inotify limits?); looking every {seconds} s instead");
            None
        }
    }
}

#[cfg(test)]
mod tests;
