//! HAProxy: one thread, no log, connections to the server shared between clients.

use super::{Job, Launch, Mode, write};

pub(super) fn launch(job: &Job<'_>) -> anyhow::Result<Launch> {
    let mode = match job.mode {
        Mode::Http => "http",
        Mode::Tcp => "tcp",
    };
    let reuse = match job.mode {
        Mode::Http => "  http-reuse always\n",
        Mode::Tcp => "",
    };
    let text = format!(
        "global\n  maxconn 8000\n  nbthread 1\n\
         defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  \
         timeout http-keep-alive 1h\n\
         frontend front\n  bind 0.0.0.0:{listen}\n  default_backend back\n\
         backend back\n{reuse}  server one {backend}\n",
        listen = job.listen,
        backend = job.backend,
    );
    let file = write(job, "haproxy.cfg", &text)?;
    Ok(Launch::new("haproxy", &["-q", "-db", "-f", &file]))
}
