//! Finds the namespace of a pod that already runs, by its address.
//!
//! The container runtime does not tell us where it put a namespace, so every namespace that a name or a process leads
//! to is asked for its addresses. Several may claim one address (a nested container engine, a leftover of a dead pod):
//! the one with the oldest process is the pod's, for its sandbox was there before anything that it started.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Netns, NetnsId, addresses};

/// Where to look for namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanRoots {
    /// Directory of named namespaces.
    pub named: PathBuf,
    /// The process file system; with a pid namespace of one's own, the host's must be mounted here.
    pub proc: PathBuf,
}

impl Default for ScanRoots {
    fn default() -> Self {
        Self {
            named: "/run/netns".into(),
            proc: "/proc".into(),
        }
    }
}

/// A namespace that something leads to.
struct Candidate {
    path: PathBuf,
    /// Start of its oldest process, in clock ticks since boot; none when only a name leads to it.
    oldest: Option<u64>,
}

/// The namespace that owns `ip`, or none. The caller's own namespace is never the answer. Only the namespaces that are
/// being asked are open, one at a time.
///
/// # Errors
/// Neither root can be read, or two named namespaces without a process both own the address (the message names them).
pub fn find_by_ip(ip: IpAddr, roots: &ScanRoots) -> io::Result<Option<Netns>> {
    let ip = ip.to_canonical();
    let mut candidates: Vec<(NetnsId, Candidate)> = gather(roots)?.into_iter().collect();
    // Oldest process first; those with a name only come last, in the order of their names.
    candidates.sort_by(|(_, a), (_, b)| {
        let key = |c: &Candidate| (c.oldest.is_none(), c.oldest);
        key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
    });
    let mut unowned: Option<(Netns, PathBuf)> = None;
    for (id, candidate) in candidates {
        let Some(ns) = owner(&candidate.path, id, ip) else {
            continue;
        };
        if candidate.oldest.is_some() {
            return Ok(Some(ns));
        }
        if let Some((_, other)) = &unowned {
            let (a, b) = (other.display(), candidate.path.display());
            return Err(io::Error::other(format!(
                "{a} and {b} both own {ip}; remove the one that is left over"
            )));
        }
        unowned = Some((ns, candidate.path));
    }
    Ok(unowned.map(|(ns, _)| ns))
}

/// Opens the namespace if it is still the same one and owns the address; pods end while we look, which is no error.
fn owner(path: &Path, id: NetnsId, ip: IpAddr) -> Option<Netns> {
    let ns = Netns::open(path).ok()?;
    let owns = ns.id() == id && addresses(&ns).ok()?.contains(&ip);
    owns.then_some(ns)
}

fn gather(roots: &ScanRoots) -> io::Result<HashMap<NetnsId, Candidate>> {
    let own = Netns::current()?.id();
    let mut found = HashMap::new();
    let processes = fs::read_dir(&roots.proc);
    let names = fs::read_dir(&roots.named);
    if let (Err(e), Err(_)) = (&processes, &names) {
        return Err(io::Error::new(
            e.kind(),
            format!("{}: {e}", roots.proc.display()),
        ));
    }
    for entry in processes.into_iter().flatten().flatten() {
        let is_process = entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        if !is_process {
            continue;
        }
        let (path, stat) = (entry.path().join("ns/net"), entry.path().join("stat"));
        let (Some(id), Some(start)) = (
            identity(&path),
            fs::read_to_string(stat).ok().and_then(|s| start_time(&s)),
        ) else {
            continue;
        };
        let candidate = found.entry(id).or_insert_with(|| Candidate {
            path: path.clone(),
            oldest: Some(start),
        });
        if candidate.oldest.is_none_or(|oldest| start < oldest) {
            *candidate = Candidate {
                path,
                oldest: Some(start),
            };
        }
    }
    for entry in names.into_iter().flatten().flatten() {
        let path = entry.path();
        if let Some(id) = identity(&path) {
            // A name outlives its processes, so it is the better path to one that has both.
            let candidate = found.entry(id).or_insert_with(|| Candidate {
                path: path.clone(),
                oldest: None,
            });
            candidate.path = path;
        }
    }
    found.remove(&own);
    Ok(found)
}

fn identity(path: &Path) -> Option<NetnsId> {
    let found = fs::metadata(path).ok()?;
    Some(NetnsId {
        dev: found.dev(),
        ino: found.ino(),
    })
}

/// Field 22 of `/proc/PID/stat`; counted after the last `)`, because a process may put anything into its own name.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::start_time;

    #[test]
    fn start_time_survives_a_hostile_process_name() {
        let rest = "S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(start_time(&format!("42 (a) 1 2) b) {rest}")), Some(777));
        assert_eq!(start_time("42 (cut"), None);
        assert_eq!(start_time("42 (short) S 1 2"), None);
    }
}
