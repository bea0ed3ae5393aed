//! Traefik: file provider, no access log, a pool of connections to the server. Go takes one processor because the
//! process is pinned to one core.

use std::path::Path;

use super::{Job, Launch, Mode, write};

pub(super) fn launch(job: &Job<'_>, program: &Path) -> anyhow::Result<Launch> {
    let backend = job.backend;
    let dynamic = match job.mode {
        Mode::Http => format!(
            "http:\n  routers:\n    all: {{rule: \"PathPrefix(`/`)\", service: back, entryPoints: [front]}}\n  \
             services:\n    back: {{loadBalancer: {{servers: [{{url: \"http://{backend}\"}}]}}}}\n"
        ),
        Mode::Tcp => format!(
            "tcp:\n  routers:\n    all: {{rule: \"HostSNI(`*`)\", service: back, entryPoints: [front]}}\n  \
             services:\n    back: {{loadBalancer: {{servers: [{{address: \"{backend}\"}}]}}}}\n"
        ),
    };
    let dynamic = write(job, "dynamic.yaml", &dynamic)?;
    let fixed = format!(
        "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\nlog: {{level: ERROR}}\n\
         entryPoints:\n  front:\n    address: \"0.0.0.0:{listen}\"\n    \
         transport: {{respondingTimeouts: {{readTimeout: 0s, idleTimeout: 3600s}}}}\n\
         serversTransport: {{maxIdleConnsPerHost: 256}}\n\
         providers: {{file: {{filename: \"{dynamic}\", watch: false}}}}\n",
        listen = job.listen,
    );
    let file = write(job, "traefik.yaml", &fixed)?;
    Ok(Launch::new(program, &[&format!("--configFile={file}")]))
}
