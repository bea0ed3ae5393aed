//! The four things that happen to a pod: it is captured, it is being released, it is released, it is checked.
//!
//! The listeners must be open before `capture`, and stay open until after `release`: rules that lead to a closed port
//! refuse every connection. Calls for one pod must not overlap; the agent holds a lock per namespace.

use std::io;

use tracing::warn;
use weft_model::capture::CaptureSpec;
use weft_netns::{Netns, has_ipv6, read_sysctl, write_sysctl};

use crate::backend::{Applied, RuleBackend};
use crate::desired::{Family, LIBERAL, NEEDED, Phase, Switch, desired};
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
    let result = prepare(ns, &families).and_then(|()| backend.apply(ns, &desired));
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
    let mut changed = match backend.verify(ns, &desired) {
        Ok(()) => Vec::new(),
        Err(Drift::Changed(list)) => list,
        Err(unknown) => return Err(unknown),
    };
    changed.extend(policy_route::differences(ns, &families)?);
    for switch in needed(&families) {
        if read_sysctl(ns, switch.key).map_err(|source| Error::Sysctl { source })? != "1" {
            changed.push(format!("sysctl {} is not 1", switch.key));
        }
    }
    if changed.is_empty() {
        Ok(())
    } else {
        Err(Drift::Changed(changed))
    }
}

fn prepare(ns: &Netns, families: &[Family]) -> Result<(), Error> {
    for switch in needed(families) {
        set(ns, switch, "1").map_err(|source| Error::Sysctl { source })?;
    }
    policy_route::add(ns, families)
}

fn undo(ns: &Netns) -> Result<(), Error> {
    policy_route::remove(ns, &[Family::V4, Family::V6])?;
    for switch in NEEDED.into_iter().chain([LIBERAL]) {
        match set(ns, switch, "0") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Sysctl { source: e });
            }
            _ => {}
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
