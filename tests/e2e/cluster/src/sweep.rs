//! Nothing is left: the end of a cluster, the janitor that sees to it when the owner is killed, and the sweep of what a
//! crash of both has left.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::room::{Room, stamp};
use crate::{cgroup, process};

/// In the cluster's directory: who made it, pid and start time.
pub(crate) const OWNER_FILE: &str = "owner";
/// In the cluster's directory: its control groups, one directory a line.
pub(crate) const GROUPS_FILE: &str = "cgroups";
/// Control groups and files of processes that are just dying.
const DEADLINE: Duration = Duration::from_secs(20);
/// Waits for the end of its standard input, then removes control groups and directory, again while processes die.
const JANITOR: &str = r#"cat >/dev/null; n=0
while [ -e "$1" ] && [ $n -lt 200 ]; do
    left=
    [ -e "$1/cgroups" ] && while read -r group; do
        [ -e "$group" ] && find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
        [ -e "$group" ] && left=1
    done < "$1/cgroups"
    [ -z "$left" ] && rm -rf --one-file-system -- "$1" 2>/dev/null
    [ -e "$1" ] && sleep 0.1
    n=$((n+1))
done"#;

/// Starts the janitor; it works when its standard input ends, which is when this process ends at the latest.
pub(crate) fn janitor(directory: &Path) -> anyhow::Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "weft-cluster-janitor"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start sh")
}

/// Ends a cluster, whoever made it, and removes all that it was.
///
/// # Errors
/// A process or control group does not go, or a file cannot be removed.
pub(crate) fn destroy(directory: &Path, room: Option<Room>) -> anyhow::Result<()> {
    if let Some(mut room) = room.or_else(|| Room::find(directory)) {
        room.end()?;
    }
    let groups: Vec<PathBuf> = fs::read_to_string(directory.join(GROUPS_FILE))
        .unwrap_or_default()
        .lines()
        .map(PathBuf::from)
        .collect();
    process::until("the end of the control groups", DEADLINE, || {
        if !cgroup::remove(&groups) {
            let left = groups.iter().find(|group| group.exists());
            bail!(
                "{} is still there",
                left.unwrap_or(&PathBuf::new()).display()
            );
        }
        Ok(())
    })?;
    process::until(
        "the end of the files",
        DEADLINE,
        || match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", directory.display()))
            }
            _ => Ok(()),
        },
    )
}

/// Removes clusters whose maker and room are both gone; gives their names.
pub(crate) fn sweep(base: &Path) -> Vec<String> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_stale(&entry.path()))
        .filter(|entry| destroy(&entry.path(), None).is_ok())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Only what this library has made is looked at: it has an owner's file.
fn is_stale(directory: &Path) -> bool {
    let Some((pid, start)) = stamp(&directory.join(OWNER_FILE)) else {
        return false;
    };
    process::start_time(pid) != Some(start) && Room::find(directory).is_none()
}
