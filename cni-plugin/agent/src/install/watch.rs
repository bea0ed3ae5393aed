//! Keeps binary and conflist as they should be while others change the directories: waits for a primary, derives again
//! when it changes, restores what was removed, and says so when somebody else keeps undoing it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_service::ready::{Part, Up};

use super::conflist::{self, Choice, Source};
use super::war::{self, Foe, War};
use super::{binary, remove_stale, replace};
use crate::bound::Tables;
use crate::metrics::Metrics;
use crate::pods::kernel::blocking;

/// Everything is looked at this often, should the kernel have lost an event.
const PERIOD: Duration = Duration::from_secs(10);
/// Events that come in a bunch are answered once.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// At most one write of the conflist in this time.
const THROTTLE: Duration = Duration::from_secs(1);
/// A primary that is away for longer is gone, and our file with it: it must not stand alone.
const PRIMARY_GRACE: Duration = Duration::from_secs(10);
/// Files larger than this are no network configuration, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What to install where.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The plugin to copy.
    pub(crate) plugin: PathBuf,
    /// The runtime's plugin directory.
    pub(crate) bin_dir: PathBuf,
    /// The runtime's configuration directory.
    pub(crate) conf_dir: PathBuf,
    /// Goes into our entry.
    pub(crate) run_dir: PathBuf,
    /// Goes into our entry.
    pub(crate) state_dir: PathBuf,
    /// Whether nothing is to be installed, and what is has to go.
    pub(crate) leave: bool,
}

/// State of the conflist, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Ours is in place.
    Installed,
    /// No primary, or no tables yet.
    Waiting,
    /// Somebody keeps undoing it.
    Contested,
    /// Disk or plugin refuse.
    Broken,
    /// Taken away, as was asked for.
    Removed,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Installed,
        Self::Waiting,
        Self::Contested,
        Self::Broken,
        Self::Removed,
    ];

    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Waiting => "waiting",
            Self::Contested => "contested",
            Self::Broken => "broken",
            Self::Removed => "removed",
        }
    }
}

/// Runs until `shutdown`; what is installed then stays, so that pods wait for the next agent instead of bypassing it.
pub(crate) async fn run(
    places: Places,
    mut tables: Tables,
    ready: Part,
    (metrics, page): (Rc<Metrics>, Arc<Mutex<String>>),
    shutdown: CancellationToken,
) {
    let (events, mut changed) = mpsc::channel(1);
    // Kept to the end: dropping it ends the watch.
    let _watcher = watch([&places.conf_dir, &places.bin_dir], events);
    let mut keeper = Keeper::new(places);
    let mut up: Option<Up> = None;
    loop {
        // The first installation waits for tables: before, every pod of the node would be held up without need.
        let may_begin = tables.borrow_and_update().generation > 0;
        let (returned, state) = keeper.step(may_begin).await;
        keeper = returned;
        metrics.conflist(state, keeper.rewrites);
        *page.lock().unwrap_or_else(PoisonError::into_inner) = keeper.page(state);
        // In a war our file is away for moments, and a pod that starts then is captured late: somebody has to see that.
        up = match (state, up) {
            (State::Installed | State::Removed, Some(up)) => Some(up),
            (State::Installed | State::Removed, None) => Some(ready.up()),
            (State::Waiting | State::Contested | State::Broken, _) => None,
        };
        tokio::select! {
            _ = changed.recv() => tokio::time::sleep(DEBOUNCE).await,
            moved = tables.changed(), if !may_begin => if moved.is_err() { return },
            () = tokio::time::sleep(keeper.pause()) => {}
            () = shutdown.cancelled() => return,
        }
        while changed.try_recv().is_ok() {}
    }
}

fn watch(dirs: [&Path; 2], events: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Our own reading is an event too; a full channel already says all there is to say.
        if !matches!(event.map(|e| e.kind), Ok(notify::EventKind::Access(_))) {
            let _ = events.try_send(());
        }
    };
    let begin = || {
        let mut watcher = notify::recommended_watcher(tell)?;
        for dir in dirs {
            fs::create_dir_all(dir).map_err(notify::Error::io)?;
            watcher.watch(dir, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    };
    let begun: notify::Result<_> = begin();
    begun.inspect_err(|error| tracing::warn!(dir = %dirs[0].display(), %error, "cannot watch; looking every {PERIOD:?} instead")).ok()
}

/// Our file as it should be.
struct Written {
    path: PathBuf,
    text: String,
    primary: String,
}

/// What was done so far.
struct Keeper {
    places: Places,
    written: Option<Written>,
    war: War,
    rewrites: u64,
    last_write: Option<Instant>,
    /// The last write is too recent for another one.
    throttled: bool,
    primary_gone: Option<Instant>,
    /// The last thing that was logged; said once, not every period.
    said: String,
}

impl Keeper {
    fn new(places: Places) -> Self {
        Self {
            places,
            written: None,
            war: War::default(),
            rewrites: 0,
            last_write: None,
            throttled: false,
            primary_gone: None,
            said: String::new(),
        }
    }

    /// Looks at everything once, on a thread that may block.
    async fn step(mut self, may_begin: bool) -> (Self, State) {
        let places = self.places.clone();
        let worked = blocking(move || {
            let state = self.look(may_begin).unwrap_or_else(|error| {
                self.say(&error.to_string(), true);
                State::Broken
            });
            (self, state)
        });
        worked
            .await
            .unwrap_or_else(|_| (Self::new(places), State::Broken))
    }

    fn pause(&self) -> Duration {
        if self.primary_gone.is_some() || self.throttled {
            THROTTLE
        } else {
            PERIOD
        }
    }

    fn look(&mut self, may_begin: bool) -> io::Result<State> {
        if self.places.leave {
            return self.take_away();
        }
        binary::install(&self.places.plugin, &self.places.bin_dir)?;
        let Found { own, others, names } = read(&self.places.conf_dir)?;
        let name = conflist::own_name(others.iter().map(|source| source.name.as_str()));
        let choice = conflist::choose(others, &self.places.run_dir, &self.places.state_dir);
        for (file, why) in &choice.skipped {
            self.say(&format!("{file} {why}; skipped"), true);
        }
        let Choice {
            derived: Some((primary, text)),
            ..
        } = choice
        else {
            return self.without_primary(&own);
        };
        self.primary_gone = None;
        let Some(name) = name else {
            return Err(io::Error::other(format!(
                "{primary}: no file of ours sorts before it; rename it, for the runtime reads the first file only"
            )));
        };
        if own.is_empty() && !may_begin {
            self.say(
                "waiting for the first tables before the conflist is installed",
                false,
            );
            return Ok(State::Waiting);
        }
        let next = Written {
            path: self.places.conf_dir.join(name),
            text,
            primary,
        };
        self.throttled = false;
        let there = own.iter().find(|source| source.name == name);
        if there.is_none_or(|source| source.text != next.text) {
            if self.last_write.is_some_and(|at| at.elapsed() < THROTTLE) {
                self.throttled = true;
                let state = self.state();
                let is_away = there.is_none() && state == State::Installed;
                return Ok(if is_away { State::Waiting } else { state });
            }
            self.count(&next, there, &names);
            self.write(&next, &names)?;
        }
        self.written = Some(next);
        // An older name of ours would be read by nobody, but it would mislead people.
        for source in own.iter().filter(|source| source.name != name) {
            let _ = fs::remove_file(self.places.conf_dir.join(&source.name));
        }
        Ok(self.state())
    }

    /// Puts our conflist there, in the place of backups that another installer made of it.
    fn write(&mut self, next: &Written, names: &[String]) -> io::Result<()> {
        let conf_dir = &self.places.conf_dir;
        for backup in war::backups(names) {
            let _ = fs::remove_file(conf_dir.join(backup));
        }
        put(&conf_dir.join(&next.primary), &next.path, &next.text)?;
        self.last_write = Some(Instant::now());
        if self.state() == State::Installed {
            let (path, primary) = (next.path.display(), &next.primary);
            self.say(&format!("{path} installed, derived from {primary}"), false);
        }
        Ok(())
    }

    /// The runtime finds the primary's file first again. The binary stays: see `leave`.
    fn take_away(&mut self) -> io::Result<State> {
        let Found { own, names, .. } = read(&self.places.conf_dir)?;
        for backup in war::backups(&names) {
            let _ = fs::remove_file(self.places.conf_dir.join(backup));
        }
        for source in &own {
            let path = self.places.conf_dir.join(&source.name);
            fs::remove_file(&path)?;
            self.say(
                &format!("{} removed, for Weft leaves", path.display()),
                false,
            );
        }
        Ok(State::Removed)
    }

    fn without_primary(&mut self, own: &[Source]) -> io::Result<State> {
        self.say(
            "no usable network configuration of a primary plugin yet; waiting for one",
            false,
        );
        let gone = *self.primary_gone.get_or_insert_with(Instant::now);
        if gone.elapsed() >= PRIMARY_GRACE {
            for source in own {
                let path = self.places.conf_dir.join(&source.name);
                fs::remove_file(&path)?;
                tracing::warn!(path = %path.display(), "removed: its primary is gone");
            }
            self.written = None;
        }
        Ok(State::Waiting)
    }

    /// Counts a write, and whose doing it is if it is somebody's: the first one is not.
    fn count(&mut self, next: &Written, there: Option<&Source>, names: &[String]) {
        self.rewrites += 1;
        let Some(last) = &self.written else { return };
        let name = last.path.file_name().unwrap_or_default().to_string_lossy();
        let foe = if last.primary == next.primary && last.text != next.text {
            Foe::Primary(next.primary.clone())
        } else if last.path == next.path && last.text == next.text {
            Foe::of(&name, &last.text, there, names)
        } else {
            // Another primary, or another name for ours: no repair.
            return;
        };
        self.war.note(Instant::now(), foe);
    }

    fn state(&mut self) -> State {
        match self.war.verdict(Instant::now()) {
            None => State::Installed,
            Some(who) => {
                self.say(&who, true);
                State::Contested
            }
        }
    }

    /// The page `/debug/installation`: state and the last thing that was said, which is the reason of the state.
    fn page(&self, state: State) -> String {
        let page = serde_json::json!({"state": state.as_str(), "said": self.said});
        format!("{page:#}\n")
    }

    fn say(&mut self, what: &str, warn: bool) {
        if self.said == what {
            return;
        }
        self.said = what.to_owned();
        if warn {
            tracing::warn!("plugin installation: {what}")
        } else {
            tracing::info!("plugin installation: {what}")
        }
    }
}

/// What is in the directory.
struct Found {
    /// Files of ours.
    own: Vec<Source>,
    /// All others that a runtime would read.
    others: Vec<Source>,
    /// Names of all files, also of those that a runtime would not read.
    names: Vec<String>,
}

fn read(dir: &Path) -> io::Result<Found> {
    remove_stale(dir, "00-weft.conflist");
    let (mut sources, mut names) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        names.push(name.clone());
        let small = fs::metadata(entry.path())
            .is_ok_and(|found| found.is_file() && found.len() <= MAX_FILE);
        if conflist::is_config(&name) && small {
            // Gone or unreadable meanwhile: the next look finds out.
            let text =
                fs::read(entry.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            sources.extend(text.map(|text| Source { name, text }));
        }
    }
    let (own, others) = sources
        .into_iter()
        .partition(|source| conflist::is_own(&source.name));
    Ok(Found { own, others, names })
}

/// Writes ours with the owner and mode of the primary's.
fn put(primary: &Path, path: &Path, text: &str) -> io::Result<()> {
    let like = fs::metadata(primary)?;
    replace(path, text.as_bytes(), like.permissions().mode() & 0o777)?;
    let now = fs::metadata(path)?;
    if (now.uid(), now.gid()) != (like.uid(), like.gid()) {
        chown(path, Some(like.uid()), Some(like.gid()))?;
    }
    Ok(())
}
