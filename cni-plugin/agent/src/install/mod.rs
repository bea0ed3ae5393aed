//! Puts the plugin where the runtime looks for it: the binary, and a conflist of our own that sorts first and holds the
//! primary's plugins and ours. The primary's file is never touched; every change is whole or not at all; what we cannot
//! understand is left alone and named.

pub(crate) mod binary;
pub(crate) mod conflist;
mod object;
pub(crate) mod watch;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Replaces a file as a whole: written beside it, synced, renamed, the directory synced. Runtimes ignore the staged name
/// (it ends in none of their extensions).
///
/// # Errors
/// The disk refuses; the file is then as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(named(io::ErrorKind::InvalidInput.into()));
    };
    fs::create_dir_all(dir).map_err(named)?;
    let staged = dir.join(format!(
        ".{}.tmp.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&staged)?;
        // The mode above is cut by the umask, and means nothing for a file that was left over.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&staged);
        named(error)
    })
}

/// Removes what killed processes left of their staged files: nobody else would, and a disk can fill up.
pub(crate) fn remove_stale(dir: &Path, name: &str) {
    let prefix = format!(".{name}.tmp.");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
