//! Processes of other namespaces, looked up in `/proc`; and commands that must succeed.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Between two looks at a condition.
pub(crate) const PERIOD: Duration = Duration::from_millis(20);

/// The link that names a process's pid namespace.
pub(crate) fn pid_namespace(pid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The process that is `inner` in the pid namespace with this link, while it lives.
pub(crate) fn find(namespace: &str, inner: u32) -> Option<u32> {
    processes().find(|pid| {
        inner_pid(*pid) == Some(inner)
            && pid_namespace(*pid).as_deref() == Some(namespace)
            && start_time(*pid).is_some()
    })
}

/// All processes that this one can see.
pub(crate) fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process's number in its own, innermost namespace.
fn inner_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

/// Field 22 of `/proc/PID/stat`: with the pid it names a process for ever.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // A dead process that nobody has waited for is no process.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Runs to the end and gives the output.
///
/// # Errors
/// It cannot be started or fails; its standard error is in the message.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output)
}

/// Looks until `look` finds something.
///
/// # Errors
/// Not within `deadline`: the text of `what` and of the last failure.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if started.elapsed() > deadline => {
                return Err(error.context(format!("{what}: not within {deadline:?}")));
            }
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_own_namespace() {
        let own = std::process::id();
        let namespace = pid_namespace(own).unwrap();
        let inner = inner_pid(own).unwrap();
        assert_eq!(find(&namespace, inner), Some(own));
        assert_eq!(find("pid:[1]", inner), None);
        assert!(start_time(own).is_some());
    }
}
