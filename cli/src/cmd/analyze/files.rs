//! Files of manifests: the given ones, and all below given directories, in a fixed order.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use weft_k8s::MAX_FILE_BYTES;

/// Endings of files that are read in directories; the operator reads the same.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// Deepest directory that is looked into.
const MAX_DEPTH: usize = 16;

/// One file.
#[derive(Debug)]
pub(in crate::cmd) struct File {
    /// Name that findings show.
    pub(in crate::cmd) name: String,
    pub(in crate::cmd) text: String,
    /// Which of the given paths it is from: objects of a later one replace those of an earlier one, as in the operator.
    pub(in crate::cmd) layer: u16,
}

/// Reads everything; fails, with a sentence, when a path cannot be read or has no manifests.
pub(in crate::cmd) fn read(paths: &[PathBuf]) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let layer = u16::try_from(index).map_err(|_| "too many paths".to_owned())?;
        if path.as_os_str() == "-" {
            let text = text(std::io::stdin().lock(), "standard input")?;
            files.push(File {
                name: "stdin".to_owned(),
                text,
                layer,
            });
            continue;
        }
        let before = files.len();
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            directory(path, layer, 0, &mut files)?;
        } else {
            files.push(file(path, layer)?);
        }
        if files.len() == before {
            return Err(format!(
                "{}: no .yaml, .yml or .json file in this directory",
                path.display()
            ));
        }
    }
    Ok(files)
}

fn directory(path: &Path, layer: u16, depth: usize, files: &mut Vec<File>) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "{}: more than {MAX_DEPTH} directories deep",
            path.display()
        ));
    }
    let entries = fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let entries: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut entries = entries.map_err(|error| unreadable(path, &error))?;
    entries.sort();
    for entry in entries {
        let hidden = entry
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if entry.is_dir() {
            directory(&entry, layer, depth + 1, files)?;
        } else if entry
            .extension()
            .is_some_and(|ending| EXTENSIONS.iter().any(|known| ending == *known))
        {
            files.push(file(&entry, layer)?);
        }
    }
    Ok(())
}

fn file(path: &Path, layer: u16) -> Result<File, String> {
    let name = path.display().to_string();
    let opened = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(File {
        text: text(opened, &name)?,
        name,
        layer,
    })
}

/// Reads one byte more than is allowed, so that the parser can say that it is too long.
fn text(source: impl Read, name: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    source
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name}: cannot be read: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: cannot be read: {error}", path.display())
}
