//! nginx: one worker, no log, a pool of connections to the server.

use anyhow::bail;

use super::{Job, Launch, Mode, write};

pub(super) fn launch(job: &Job<'_>) -> anyhow::Result<Launch> {
    if job.mode == Mode::Tcp {
        bail!(
            "nginx carries bytes with a module that is a package of its own; it takes part in one-hop only"
        );
    }
    let directory = job.directory.display();
    let text = format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n\
         events {{ worker_connections 8000; }}\n\
         http {{\n  access_log off;\n  keepalive_timeout 1h;\n  keepalive_requests 1000000000;\n  \
         client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n  \
         fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  \
         scgi_temp_path {directory}/scgi;\n  \
         upstream back {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen 0.0.0.0:{listen};\n    location / {{\n      proxy_pass http://back;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $host;\n    }}\n  }}\n}}\n",
        backend = job.backend,
        listen = job.listen,
    );
    let file = write(job, "nginx.conf", &text)?;
    Ok(Launch::new(
        "nginx",
        &["-p", &directory.to_string(), "-c", &file],
    ))
}
