//! Puts the plugin where the runtime looks for it: the binary, and a conflist of our own that sorts first and holds the
//! primary's plugins and ours. The primary's file is never touched; every change is whole or not at all; what we cannot
//! understand is left alone and named.

pub(crate) mod binary;
pub(crate) mod conflist;
mod object;
mod war;
pub(crate) mod watch;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Replaces a file as a whole: written beside it, synced, renamed, the directory synced. Runtimes ignore the staged name
/// (it ends in none of their extensions).
///
/// # Errors
/// The disk refuses; the file is then as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    Staged::write(path, bytes, mode)?.put_in_place()
}

/// A file that lies whole and synced beside the one it is to replace. Dropped before it is in place, it is gone.
pub(crate) struct Staged {
    path: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Writes and syncs.
    ///
    /// # Errors
    /// The disk refuses; nothing is left.
    pub(crate) fn write(target: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(named(target)(io::ErrorKind::InvalidInput.into()));
        };
        fs::create_dir_all(dir).map_err(named(target))?;
        let name = name.to_string_lossy();
        let staged = Self {
            path: dir.join(format!(".{name}.tmp.{}", std::process::id())),
            target: target.to_path_buf(),
        };
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&staged.path)?;
            // The mode above is cut by the umask, and means nothing for a file that was left over.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(named(target))?;
        Ok(staged)
    }

    /// Where it lies now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it over its target.
    ///
    /// # Errors
    /// The disk refuses; the target is as it was.
    pub(crate) fn put_in_place(self) -> io::Result<()> {
        fs::rename(&self.path, &self.target).map_err(named(&self.target))?;
        let dir = self.target.parent().unwrap_or(Path::new("."));
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(named(&self.target))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing of this name.
        let _ = fs::remove_file(&self.path);
    }
}

fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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
