//! The admin socket: pages for root on this node, and for the CNI plugin. One process, one name; a name that leads nowhere
//! does not outlive the next proxy's start, since the plugin asks behind every one of them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::net::UnixListener;
use weft_service::http;
use weft_wire::membership;

use crate::pods::source;

/// Path of this process' socket.
pub(crate) fn path(run_dir: &Path) -> PathBuf {
    let number = match std::process::id() {
        // The first process of a container, like those of other proxies that share the directory.
        1 => source::process_start(),
        pid => u64::from(pid),
    };
    run_dir.join(membership::admin_socket(number))
}

/// Binds it, and removes those of proxies that were killed.
///
/// # Errors
/// The directory is missing or not writable; the text names the path.
pub(crate) fn bind(run_dir: &Path) -> anyhow::Result<UnixListener> {
    let path = path(run_dir);
    let listener =
        http::bind_unix(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    remove_dead(run_dir);
    Ok(listener)
}

/// A socket gets its name when it is listened on already: where nobody listens, the process is gone. What cannot be read
/// or removed now is left to the next proxy.
fn remove_dead(run_dir: &Path) {
    let entries = std::fs::read_dir(run_dir).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if !name.to_str().is_some_and(membership::is_admin_socket) {
            continue;
        }
        let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if weft_netns::stream_connect(&entry.path()).is_err_and(refused) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
