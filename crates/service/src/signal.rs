//! SIGTERM and SIGINT ask for an orderly stop by cancelling one token; a second signal ends the process at once, so
//! nobody needs kill -9 because a drain takes long.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code when a second signal arrives before the orderly stop is done.
pub const IMPATIENT_EXIT: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT. Call inside a tokio runtime.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn shutdown_on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name =
            tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("second signal: leaving at once");
        std::process::exit(IMPATIENT_EXIT);
    });
    Ok(token)
}
