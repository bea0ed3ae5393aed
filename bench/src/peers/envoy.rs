//! Envoy: one worker, a static listener and cluster, no access log, no admin port.

use std::path::Path;

use super::{Job, Launch, Mode, write};

pub(super) fn launch(job: &Job<'_>, program: &Path) -> anyhow::Result<Launch> {
    let filter = match job.mode {
        Mode::Http => HTTP_FILTER,
        Mode::Tcp => TCP_FILTER,
    };
    let text = CONFIGURATION
        .replace("FILTER", filter)
        .replace("LISTEN", &job.listen.to_string())
        .replace("ADDRESS", &job.backend.ip().to_string())
        .replace("PORT", &job.backend.port().to_string());
    let file = write(job, "envoy.yaml", &text)?;
    let arguments = [
        "-c",
        &file,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ];
    Ok(Launch::new(program, &arguments))
}

const CONFIGURATION: &str = r"
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 0.0.0.0, port_value: LISTEN}}
    filter_chains:
    - filters:FILTER
  clusters:
  - name: back
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: back
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: ADDRESS, port_value: PORT}}}
";

const HTTP_FILTER: &str = r#"
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          common_http_protocol_options: {idle_timeout: 3600s}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: back}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"#;

const TCP_FILTER: &str = r#"
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: front
          cluster: back"#;
