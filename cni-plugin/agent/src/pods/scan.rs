//! Which namespaces are alive: those that a name or a process leads to. One that only our own descriptors keep alive is
//! a dead pod's.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weft_netns::{NetnsId, ScanRoots};

/// Every living namespace with a path to it; a name rather than a process, for it lives longer.
pub(crate) fn living(roots: &ScanRoots) -> HashMap<NetnsId, PathBuf> {
    let processes = entries(&roots.proc).map(|path| path.join("ns/net"));
    let names = entries(&roots.named);
    // Later entries replace earlier ones.
    processes
        .chain(names)
        .filter_map(|path| Some((identity(&path)?, path)))
        .collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn identity(path: &Path) -> Option<NetnsId> {
    let found = fs::metadata(path).ok()?;
    Some(NetnsId {
        dev: found.dev(),
        ino: found.ino(),
    })
}
