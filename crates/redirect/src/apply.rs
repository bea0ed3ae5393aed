//! The four things that happen to a pod: it is captured, it is being released, it is released, it is checked.
//!
//! The listeners must be open before `capture`, and stay open until after `release`: rules that lead to a closed port
//! refuse every connection. Calls for one pod must not overlap; the agent holds a lock per namespace.

use std::io;

use tracing::warn;
use weft_model::capture::CaptureSpec;
use weft_netns::{Netns, has_ipv6, read_sysctl, write_sysctl};

use crate::backend::{Applied, RuleBackend};
use crate::desired::{Desired, Family, LIBERAL, NEEDED, Phase, Switch, WayBack, desired};
use crate::error::{Drift, Error};
use crate::policy_route;

/// Redirects the pod's new connections; connections that exist are untouched. Idempotent: a second call changes
/// nothing, a call with another specification changes the difference in one step per family.
///
/// # Errors
/// The specification is invalid, or the pod cannot be changed; a pod that was not captured before is then left as it was.
pub fn capture(
    ns: &Netns,
    spec: &CaptureSpec,
    backend: &dyn RuleBackend,
) -> Result<Applied, Error> {
    let desired = desired(spec, has_ipv6(ns).map_err(Error::Namespace)?)?;
    let families: Vec<Family> = desired.families.iter().map(|rules| rules.family).collect();
    // The way back first, then what leads there: at no moment is a connection redirected that cannot be served.
    let result = prepare(ns, &families, backend).and_then(|way| match way {
        WayBack::BySocket => backend.apply(ns, &desired),
        WayBack::ByConnection => backend.apply(ns, &desired.by_connection()),
    });
    if result.is_ok() {
        // This key appears with the first rule that uses connection tracking.
        if let Err(error) = set(ns, LIBERAL, "1") {
            warn!(%error, "segments outside of the window may reset captured connections of this pod");
        }
    } else if matches!(backend.phase(ns), Ok(Phase::Released))
        && let Err(error) = undo(ns)
    {
        // The result tells the cause, this one what is left.
        warn!(%error, "a pod that could not be captured keeps a route or sysctl of ours");
    }
    result
}

/// Lets new connections go directly. Those made while captured go on as they are: everything that carries them stays
/// until [`release`].
///
/// # Errors
/// The rules cannot be read or changed.
pub fn releasing(ns: &Netns, backend: &dyn RuleBackend) -> Result<Applied, Error> {
    backend.remove(ns, Phase::Releasing)
}

/// Removes everything of ours from the pod. Connections made while captured break: call it when the proxy has none left
/// for this pod, or at the drain deadline. Succeeds when nothing is there.
///
/// # Errors
/// Something of ours cannot be removed.
pub fn release(ns: &Netns, backend: &dyn RuleBackend) -> Result<Applied, Error> {
    let applied = backend.remove(ns, Phase::Released)?;
    undo(ns)?;
    Ok(applied)
}

/// How far the pod is, by what is found in it: a restarted agent asks this.
///
/// # Errors
/// The rules cannot be read.
pub fn phase(ns: &Netns, backend: &dyn RuleBackend) -> Result<Phase, Error> {
    backend.phase(ns)
}

/// Whether the pod is captured exactly as specified: rules, route, settings. A flush by the application shows here.
///
/// # Errors
/// What differs, in words, or why it cannot be found out.
pub fn verify(ns: &Netns, spec: &CaptureSpec, backend: &dyn RuleBackend) -> Result<(), Drift> {
    let desired = desired(spec, has_ipv6(ns).map_err(Error::Namespace)?).map_err(Error::Spec)?;
    let families: Vec<Family> = desired.families.iter().map(|rules| rules.family).collect();
    let mut changed = differences(ns, &families, desired, backend)?;
    changed.extend(policy_route::differences(ns, &families)?);
    if changed.is_empty() {
        Ok(())
    } else {
        Err(Drift::Changed(changed))
    }
}

/// How rules and settings together differ from a capture; either way back is one.
fn differences(
    ns: &Netns,
    families: &[Family],
    desired: Desired,
    backend: &dyn RuleBackend,
) -> Result<Vec<String>, Drift> {
    let mut off = Vec::new();
    for switch in needed(families) {
        if read_sysctl(ns, switch.key).map_err(|source| Error::Sysctl { source })? != "1" {
            off.push(format!("sysctl {} is not 1", switch.key));
        }
    }
    if !off.is_empty() && backend.way_back(ns)? == Some(WayBack::ByConnection) {
        return listed(backend.verify(ns, &desired.by_connection()));
    }
    let mut list = listed(backend.verify(ns, &desired))?;
    list.append(&mut off);
    Ok(list)
}

/// No difference is an empty list.
fn listed(verified: Result<(), Drift>) -> Result<Vec<String>, Drift> {
    match verified {
        Ok(()) => Ok(Vec::new()),
        Err(Drift::Changed(list)) => Ok(list),
        Err(unknown) => Err(unknown),
    }
}

fn prepare(ns: &Netns, families: &[Family], backend: &dyn RuleBackend) -> Result<WayBack, Error> {
    let way = way_back(ns, families, backend)?;
    policy_route::add(ns, families)?;
    Ok(way)
}

/// Sockets are told what to answer with, where that can be set.
fn way_back(ns: &Netns, families: &[Family], backend: &dyn RuleBackend) -> Result<WayBack, Error> {
    let on = |switch: Switch| read_sysctl(ns, switch.key).is_ok_and(|value| value == "1");
    if needed(families).all(on) {
        return Ok(WayBack::BySocket);
    }
    // Its connections were made for this way and would end with another.
    if backend.way_back(ns)? == Some(WayBack::ByConnection) {
        return Ok(WayBack::ByConnection);
    }
    for switch in needed(families) {
        match set(ns, switch, "1") {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => {
                warn!(%error, "connection tracking carries the mark in this pod instead");
                return Ok(WayBack::ByConnection);
            }
            Err(source) => return Err(Error::Sysctl { source }),
        }
    }
    Ok(WayBack::BySocket)
}

/// The setting is there, but not for us to change.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

fn undo(ns: &Netns) -> Result<(), Error> {
    policy_route::remove(ns, &[Family::V4, Family::V6])?;
    for switch in NEEDED.into_iter().chain([LIBERAL]) {
        match set(ns, switch, "0") {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // What could not be set was not set by us, but for a machine that became stricter since.
            Err(e) if is_refusal(&e) => {
                warn!(error = %e, "a setting of a released pod stays as it is");
            }
            Err(e) => return Err(Error::Sysctl { source: e }),
        }
    }
    Ok(())
}

fn needed(families: &[Family]) -> impl Iterator<Item = Switch> {
    NEEDED.into_iter().filter(|switch| {
        switch
            .family
            .is_none_or(|family| families.contains(&family))
    })
}

/// Writes only what differs, so that a read-only `/proc/sys` with the right value is fine.
fn set(ns: &Netns, switch: Switch, value: &str) -> io::Result<()> {
    if read_sysctl(ns, switch.key)? == value {
        return Ok(());
    }
    write_sysctl(ns, switch.key, value)
}
