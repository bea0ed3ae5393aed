//! Accepting and serving with limits, so that a slow or idle client can neither hold a descriptor for ever nor keep
//! Prometheus out: few connections, a short time for a request's head, and a bounded life for each connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Router;

/// Connections served at once per listener; further ones wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 64;
/// Time for the head of a request, also of the next one on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// After this a connection takes no further request.
const GRACEFUL_AFTER: Duration = Duration::from_secs(300);
/// What a running answer then still gets; also the drain time at shutdown.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after a failed accept (descriptors exhausted), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Permission of admin sockets: the owner only.
const SOCKET_MODE: u32 = 0o600;

/// Serves on TCP until `shutdown`.
pub async fn serve(listener: TcpListener, router: Arc<Router>, shutdown: CancellationToken) {
    let accept =
        |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
    accept_loop(accept, router, shutdown).await;
}

/// Serves on a Unix socket until `shutdown`. The socket's file is left behind; its owner removes it.
pub async fn serve_unix(listener: UnixListener, router: Arc<Router>, shutdown: CancellationToken) {
    let accept =
        |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
    accept_loop(accept, router, shutdown).await;
}

/// Binds a Unix socket that only the owner may use, replacing what a dead process left there.
///
/// # Errors
/// When the directory is missing or not writable, or the path holds something other than a socket.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            let text = format!("{}: exists and is no socket; remove it", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(_) => {}
    }
    // Bound under a private name first, so that nobody can connect before the permission is set.
    let staged = path.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_file(&staged);
    let listener = UnixListener::bind(&staged)?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(&staged, path)?;
    Ok(listener)
}

async fn accept_loop<S>(
    accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<S>>,
    router: Arc<Router>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = poll_fn(&accept) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok(stream) => {
                let router = Arc::clone(&router);
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    connection(stream, router, shutdown).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on an admin or metrics port; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: S, router: Arc<Router>, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        // The body is never read: these endpoints take none, and hyper closes a connection that has one pending.
        let (head, _) = request.into_parts();
        let response = router.respond(&head);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(GRACEFUL_AFTER) => {}
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
