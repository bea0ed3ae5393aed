//! Reads the user's directory: every `.yaml`, `.yml` and `.json` below it, in the order of their paths.
//!
//! A file that cannot be read keeps what it last gave; the problem is reported once per change. A name that comes
//! twice is won by the later file, as with `kubectl apply`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::object::{Key, Objects, list, text};

/// Largest file that is read, bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Directories below the given one that are followed.
const MAX_DEPTH: u32 = 8;

/// Directories of manifests with the last good state of each file.
#[derive(Debug, Default)]
pub struct Manifests {
    files: BTreeMap<PathBuf, File>,
}

#[derive(Debug)]
struct File {
    content: String,
    objects: Vec<(Key, Value)>,
}

/// What one reading found.
#[derive(Debug, Default)]
pub struct Reading {
    /// All objects.
    pub objects: Objects,
    /// Files that changed since the last reading and cannot be used, in words with the file's name.
    pub problems: Vec<String>,
}

impl Manifests {
    /// Reads the directories again; a later one wins over an earlier one.
    pub fn read(&mut self, directories: &[PathBuf]) -> Reading {
        let mut problems = Vec::new();
        let paths = files(directories, &mut problems);
        self.files.retain(|path, _| paths.contains(path));
        for path in &paths {
            match self.refresh(path) {
                Ok(()) => {}
                Err(problem) => problems.push(format!("{}: {problem}", path.display())),
            }
        }
        let all = self
            .files
            .values()
            .flat_map(|file| file.objects.iter().cloned());
        Reading {
            objects: all.collect(),
            problems,
        }
    }

    fn refresh(&mut self, path: &Path) -> Result<(), String> {
        let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
        if size > MAX_FILE {
            return Err(format!("{size} bytes; a manifest may have {MAX_FILE}"));
        }
        let content = fs::read_to_string(path).map_err(|e| e.to_string())?;
        if self
            .files
            .get(path)
            .is_some_and(|known| known.content == content)
        {
            return Ok(());
        }
        let parsed = parse(&content);
        let known = self.files.entry(path.to_owned()).or_insert_with(|| File {
            content: String::new(),
            objects: Vec::new(),
        });
        // Remembered even when it is broken, so that it is reported once.
        known.content = content;
        known.objects = parsed?;
        Ok(())
    }
}

/// Manifest files below the directories in the order in which they are read.
pub(crate) fn files(directories: &[PathBuf], problems: &mut Vec<String>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for directory in directories {
        let mut found = Vec::new();
        gather(directory, MAX_DEPTH, &mut found, problems);
        found.sort();
        paths.extend(found);
    }
    paths
}

fn gather(directory: &Path, depth: u32, found: &mut Vec<PathBuf>, problems: &mut Vec<String>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) => return problems.push(format!("{}: {e}", directory.display())),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let manifest = path
            .extension()
            .is_some_and(|e| ["yaml", "yml", "json"].iter().any(|x| e == *x));
        if hidden {
            continue;
        } else if path.is_dir() && depth > 0 {
            gather(&path, depth - 1, found, problems);
        } else if manifest && path.is_file() {
            found.push(path);
        }
    }
}

/// All objects of a text of one or more YAML documents (JSON is YAML); `List`s are unfolded.
///
/// # Errors
/// The text is not YAML, or an object has no name; nothing of it is given then.
pub fn parse(content: &str) -> Result<Vec<(Key, Value)>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(content).map_err(|e| e.to_string())?;
    let mut objects = Vec::new();
    for document in documents.into_iter().filter(|d| !d.is_null()) {
        let is_list = text(&document, "/kind").is_some_and(|k| k.ends_with("List"))
            && document.get("items").is_some();
        let items = if is_list {
            list(&document, "/items").to_vec()
        } else {
            vec![document]
        };
        for item in items {
            objects.push((Key::of(&item)?, item));
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "kind: Namespace\nmetadata: {name: shop}\n---\n---\nkind: Service\nmetadata:\n  name: a\n  namespace: shop\n";

    #[test]
    fn documents_lists_and_json_are_read() {
        let found = parse(GOOD).unwrap();
        assert_eq!(found[0].0, Key::new("Namespace", "", "shop"));
        assert_eq!(found[1].0, Key::new("Service", "shop", "a"));
        let list = r#"{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"p"}}]}"#;
        assert_eq!(parse(list).unwrap()[0].0, Key::new("Pod", "default", "p"));
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_state_and_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let directories = [dir.path().to_owned()];
        fs::write(&path, GOOD).unwrap();
        let mut manifests = Manifests::default();
        assert_eq!(manifests.read(&directories).objects.len(), 2);
        fs::write(&path, "kind: [").unwrap();
        let reading = manifests.read(&directories);
        assert_eq!((reading.objects.len(), reading.problems.len()), (2, 1));
        assert!(
            reading.problems[0].contains("a.yaml"),
            "{:?}",
            reading.problems
        );
        assert_eq!(manifests.read(&directories).problems.len(), 0);
        fs::remove_file(&path).unwrap();
        assert_eq!(manifests.read(&directories).objects.len(), 0);
    }

    #[test]
    fn an_object_without_a_name_is_told() {
        assert!(
            parse("kind: Pod\nmetadata: {}")
                .unwrap_err()
                .contains("metadata.name")
        );
    }
}
