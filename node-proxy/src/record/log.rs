//! The access log: lines are made on the worker, written by a thread of their own, and dropped (and counted) when it is
//! behind. Nobody's request waits for a disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use http::header::{HeaderMap, HeaderName, USER_AGENT};
use prometheus::IntCounter;
use tokio::time::Instant;
use weft_model::pod;
use weft_model::reason::Reason;
use weft_observe::AccessRecord;

use super::{Reached, Record, now_millis};
use crate::config::{AccessLog, Config, LogFormat};
use crate::l4::front::Conn;
use crate::l7::plan::Request;

/// Lines that may wait for the writer.
const MAX_WAITING: usize = 8192;

/// Settings of the access log, and the way to its writer.
pub(crate) struct AccessLogs {
    default: AccessLog,
    format: LogFormat,
    lines: SyncSender<Vec<u8>>,
    dropped: IntCounter,
}

impl AccessLogs {
    /// Opens the file and starts the writer.
    pub(crate) fn start(config: &Config, dropped: IntCounter) -> anyhow::Result<Self> {
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let file = open(&config.access_log_file)?;
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(file, &waiting))
            .context("access log thread")?;
        Ok(Self {
            default: config.access_log,
            format: config.access_log_format,
            lines,
            dropped,
        })
    }

    fn line(&self, record: &AccessRecord<'_>) {
        let mut line = Vec::with_capacity(512);
        match self.format {
            LogFormat::Text => record.text(&mut line),
            LogFormat::Json => record.json(&mut line),
        }
        if self.lines.try_send(line).is_err() {
            self.dropped.inc();
        }
    }

    /// Whether a pod's namespace, or else the proxy, wants a line for an outcome.
    fn wants(&self, of_pod: pod::AccessLog, failed: bool) -> bool {
        let errors = of_pod == pod::AccessLog::Errors || self.default == AccessLog::Errors;
        let all = of_pod == pod::AccessLog::All || self.default == AccessLog::All;
        all || (errors && failed)
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdout()));
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file =
        file.with_context(|| format!("--access-log-file: cannot open {}", path.display()))?;
    Ok(Box::new(file))
}

fn write(mut file: Box<dyn Write + Send>, lines: &Receiver<Vec<u8>>) {
    while let Ok(line) = lines.recv() {
        let mut batch = line;
        while let Ok(more) = lines.try_recv() {
            batch.extend_from_slice(&more);
        }
        if let Err(error) = file.write_all(&batch).and_then(|()| file.flush()) {
            tracing::warn!(%error, "access log lines are lost");
        }
    }
}

/// Whether any request of this connection may be logged: then what the line needs is kept.
pub(crate) fn logs(conn: &Conn) -> bool {
    conn.worker
        .shared
        .access_logs
        .wants(conn.local.access_log, true)
}

/// Logs a request, if it is wanted.
pub(super) fn request(conn: &Conn, request: &Request, record: &Record) {
    let logs = &conn.worker.shared.access_logs;
    if !logs.wants(
        conn.local.access_log,
        record.reason.is_some() || record.status >= 400,
    ) {
        return;
    }
    let path = request
        .original_path
        .as_deref()
        .unwrap_or_else(|| request.target.path_and_query());
    let protocol = if request.version == http::Version::HTTP_10 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    let duration = millis(request.started.elapsed());
    logs.line(&AccessRecord {
        start_millis: now_millis().saturating_sub(duration),
        method: request.method.as_str().as_bytes(),
        path: path.as_bytes(),
        protocol: protocol.as_bytes(),
        response_code: record.status,
        response_flags: record.flags().as_bytes(),
        response_code_details: record
            .reason
            .map_or("via_upstream", Reason::details)
            .as_bytes(),
        bytes_received: record.received,
        bytes_sent: record.sent,
        duration_millis: duration,
        upstream_service_time_millis: record.upstream_time.map(millis),
        x_forwarded_for: header(
            &request.headers,
            &HeaderName::from_static("x-forwarded-for"),
        ),
        user_agent: header(&request.headers, &USER_AGENT),
        request_id: header(&request.headers, &HeaderName::from_static("x-request-id")),
        authority: request.target.authority().as_bytes(),
        route_name: record.route.as_deref().unwrap_or_default().as_bytes(),
        ..common(
            conn,
            record.upstream.as_ref(),
            &cluster(conn, record.upstream.as_ref()),
        )
    });
}

/// Logs an opaque connection, if it is wanted.
pub(super) fn connection(
    conn: &Conn,
    reached: Option<&Reached>,
    reason: Option<Reason>,
    (received, sent): (u64, u64),
    started: Instant,
) {
    let logs = &conn.worker.shared.access_logs;
    if !logs.wants(conn.local.access_log, reason.is_some()) {
        return;
    }
    let duration = millis(started.elapsed());
    logs.line(&AccessRecord {
        start_millis: now_millis().saturating_sub(duration),
        response_flags: reason.map_or("-", Reason::flag).as_bytes(),
        connection_termination_details: reason.map_or("", Reason::details).as_bytes(),
        bytes_received: received,
        bytes_sent: sent,
        duration_millis: duration,
        ..common(conn, reached, &cluster(conn, reached))
    });
}

fn common<'r>(conn: &'r Conn, reached: Option<&Reached>, cluster: &'r str) -> AccessRecord<'r> {
    AccessRecord {
        upstream_host: reached.map(|reached| reached.address),
        upstream_cluster: cluster.as_bytes(),
        downstream_local_address: Some(conn.destination),
        downstream_remote_address: Some(conn.peer),
        ..AccessRecord::default()
    }
}

/// The name people look for: the service's host, else the pod, else where it was going.
fn cluster(conn: &Conn, reached: Option<&Reached>) -> String {
    let tables = conn.worker.tables();
    let service = reached
        .and_then(|reached| reached.service)
        .and_then(|id| tables.service(id).ok());
    if let Some(service) = service {
        return format!("outbound|{}", service.service.host);
    }
    match (conn.direction, reached) {
        (crate::l4::Direction::Inbound, _) => format!("inbound|{}", conn.destination.port()),
        (crate::l4::Direction::Outbound, Some(reached)) if reached.workload.is_some() => {
            "outbound|pod".to_owned()
        }
        (crate::l4::Direction::Outbound, _) => "PassthroughCluster".to_owned(),
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h [u8] {
    headers
        .get(name)
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
