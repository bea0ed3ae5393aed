//! The files of some directories and the objects in them, kept up to date by scanning. Works with the disk alone, no
//! events and no clock, so that every way of saving a file can be tested.
//!
//! A file that cannot be read, or of which a document cannot, keeps the objects it last gave for what is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weft_k8s::{Located, MAX_FILE_BYTES, Object, ParseError, Place, Snapshot, parse_file};

use super::Manifests;

/// Deepest directory below a root; ends loops of symbolic links.
const MAX_DEPTH: usize = 16;
/// Most files that are read; a wrong `--manifests` (a home directory) is named instead of swallowed.
pub const MAX_FILES: usize = 100_000;
/// Names that are manifests. Everything else (backups, swap and lock files, editors' temporary files) is passed over.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What tells that a file's content may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

#[derive(Debug, Default)]
struct Entry {
    layer: u16,
    stamp: Option<Stamp>,
    objects: Vec<Located<Object>>,
    errors: Vec<ParseError>,
}

/// All files.
#[derive(Debug)]
pub struct Files {
    roots: Vec<PathBuf>,
    entries: BTreeMap<PathBuf, Entry>,
    /// Directories that cannot be listed: what was below them stays.
    unreadable: BTreeMap<PathBuf, String>,
}

/// Whether a file with this name is read.
#[must_use]
pub fn is_manifest(path: &Path) -> bool {
    let visible = path
        .file_name()
        .is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    visible && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

impl Files {
    /// Directories in rising rank; nothing is read yet.
    ///
    /// # Errors
    /// When one of them cannot be listed.
    pub fn new(roots: &[PathBuf]) -> io::Result<Self> {
        for root in roots {
            fs::read_dir(root).map_err(|error| {
                let text = format!("--manifests {}: {error}", root.display());
                io::Error::new(error.kind(), text)
            })?;
        }
        Ok(Self {
            roots: roots.to_vec(),
            entries: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        })
    }

    /// The directories.
    #[must_use]
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Looks at every file and reads those that have changed since the last scan, and those of `touched` in any case
    /// (two writes within one tick of the file system's clock look alike). Tells whether anything is different now.
    pub fn scan(&mut self, touched: &BTreeSet<PathBuf>) -> bool {
        let mut found = BTreeMap::new();
        let before = std::mem::take(&mut self.unreadable);
        for (layer, root) in self.roots.clone().iter().enumerate() {
            let layer = u16::try_from(layer).unwrap_or(u16::MAX);
            self.walk(root, layer, 0, &mut found);
        }
        let mut different = before != self.unreadable;
        for (path, (layer, stamp)) in &found {
            let known = self.entries.get(path).and_then(|entry| entry.stamp);
            if known != Some(*stamp) || touched.contains(path) {
                // A file that says the same as before is reported as read all the same.
                different |= self.read(path, *layer, *stamp) || known != Some(*stamp);
            }
        }
        let unreadable = &self.unreadable;
        self.entries.retain(|path, _| {
            let keep =
                found.contains_key(path) || unreadable.keys().any(|dir| path.starts_with(dir));
            different |= !keep;
            keep
        });
        different
    }

    /// The objects of all files.
    #[must_use]
    pub fn manifests(&self) -> Manifests {
        let mut manifests = Manifests::default();
        for (path, entry) in &self.entries {
            if let Some(stamp) = entry.stamp {
                manifests
                    .files
                    .insert(path.to_string_lossy().into_owned(), stamp.changed);
            }
            for object in &entry.objects {
                *manifests.objects.entry(object.value.kind()).or_default() += 1;
            }
            manifests.errors.extend(entry.errors.iter().cloned());
        }
        manifests
            .errors
            .extend(self.unreadable.iter().map(|(path, error)| {
                problem(
                    path,
                    &format!(
                        "cannot list the directory: {error}; what was read before stays in force"
                    ),
                )
            }));
        let objects = self.entries.values().flat_map(|entry| {
            entry
                .objects
                .iter()
                .map(|object| object.clone().in_layer(entry.layer))
        });
        manifests.snapshot = Snapshot::from_objects(objects);
        manifests
    }

    fn walk(
        &mut self,
        dir: &Path,
        layer: u16,
        depth: usize,
        found: &mut BTreeMap<PathBuf, (u16, Stamp)>,
    ) {
        let listed = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let list = match listed {
            Ok(list) => list,
            // Between our listing of the parent and now it may have been removed, which is no error; a root may not.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.unreadable.insert(dir.to_owned(), error.to_string());
                return;
            }
        };
        for item in list {
            let path = item.path();
            if item.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Follows symbolic links: mounted ConfigMaps consist of them.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                if depth < MAX_DEPTH {
                    self.walk(&path, layer, depth + 1, found);
                }
            } else if metadata.is_file() && is_manifest(&path) {
                if found.len() >= MAX_FILES {
                    let text =
                        format!("more than {MAX_FILES} manifests; is this the right directory?");
                    self.unreadable.insert(dir.to_owned(), text);
                    return;
                }
                found.insert(path, (layer, stamp(&metadata)));
            }
        }
    }

    /// Reads one file; tells whether its objects or errors are different.
    fn read(&mut self, path: &Path, layer: u16, stamp: Stamp) -> bool {
        let entry = self.entries.entry(path.to_owned()).or_default();
        let first = entry.stamp.is_none();
        entry.layer = layer;
        entry.stamp = Some(stamp);
        let (objects, errors) = match text(path, stamp.size) {
            Ok(text) => parse_file(&path.to_string_lossy(), &text),
            Err(error) => {
                // Read again at the next scan, whatever the stamp says.
                entry.stamp = None;
                (Vec::new(), vec![problem(path, &error)])
            }
        };
        let objects = keep_broken(&entry.objects, objects, &errors);
        let different = first || entry.objects != objects || entry.errors != errors;
        entry.objects = objects;
        entry.errors = errors;
        different
    }
}

/// The new objects, and of the old ones those that may be behind an error.
fn keep_broken(
    old: &[Located<Object>],
    mut new: Vec<Located<Object>>,
    errors: &[ParseError],
) -> Vec<Located<Object>> {
    if errors.is_empty() {
        return new;
    }
    let key = |object: &Located<Object>| (object.value.kind(), object.value.metadata().key());
    let present: BTreeSet<_> = new.iter().map(key).collect();
    let broken = |object: &Located<Object>| {
        errors.iter().any(|error| {
            let metadata = object.value.metadata();
            // A document that is no YAML has no name: it may be any of those that are missing now.
            error.name.is_empty()
                || error.name == metadata.key().to_string()
                || (error.name == metadata.name && !error.name.contains('/'))
        })
    };
    new.extend(
        old.iter()
            .filter(|object| !present.contains(&key(object)) && broken(object))
            .cloned(),
    );
    new
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        // The change time moves with every write and rename; the modification time can be set back by tools.
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn text(path: &Path, size: u64) -> Result<String, String> {
    if size > MAX_FILE_BYTES as u64 {
        return Err(format!(
            "the file has {size} bytes, more than {MAX_FILE_BYTES}; split it"
        ));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot read the file: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "the file is not UTF-8 text (byte {}); save it as UTF-8",
            error.utf8_error().valid_up_to()
        )
    })
}

fn problem(path: &Path, message: &str) -> ParseError {
    ParseError {
        place: Place {
            layer: 0,
            file: path.to_string_lossy().into(),
            line: 0,
        },
        kind: String::new(),
        name: String::new(),
        field: String::new(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
