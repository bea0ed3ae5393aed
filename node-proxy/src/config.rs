//! The proxy's settings: every flag with its default, its environment twin and its meaning.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Open connections that one pod may have through the proxy; further ones are reset and counted.
pub(crate) const MAX_CONNECTIONS_PER_POD: usize = 50_000;
/// From the first byte of a request's head to its last.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client connection keeps the state of a request for the next one for this long, then it only has its socket.
pub(crate) const CLIENT_BUSY_TIME: Duration = Duration::from_millis(250);
/// A client connection without a request is closed after this long.
pub(crate) const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// A body on which nothing has moved for this long is given up (Envoy's stream idle timeout).
pub(crate) const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Waiting for a service, workload or pod that the index names and the tables lack (contracts.md §5).
pub(crate) const FIRST_USE_TIMEOUT: Duration = Duration::from_secs(2);
/// Waiting for the labels of a peer before its record is written as `unknown`.
pub(crate) const LABELS_TIMEOUT: Duration = Duration::from_secs(1);
/// Waiting for a client's first bytes before the upstream is dialled (contracts.md §6).
pub(crate) const DETECT_TIMEOUT: Duration = Duration::from_millis(3);
/// Waiting for the rest of first bytes that may still become HTTP.
pub(crate) const SNIFF_TIMEOUT: Duration = Duration::from_secs(5);
/// Endpoints tried for one opaque connection.
pub(crate) const TCP_ATTEMPTS: u32 = 3;
/// Interim (1xx) responses that one response may have.
pub(crate) const MAX_INTERIM: u32 = 16;
/// Bytes of an unwanted request body that are read so that the connection can be kept.
pub(crate) const DRAIN_BYTES: usize = 64 * 1024;
/// Time for the same.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Copies of requests (mirrors) under way on one worker; of further requests no copy is made.
pub(crate) const MAX_MIRRORS: usize = 1024;
/// Bytes of a request's body that a copy may lag behind; one that lags further is cut.
pub(crate) const MAX_MIRROR_LAG: usize = 1024 * 1024;
/// The same for all copies of one worker together.
pub(crate) const MAX_MIRROR_BYTES: usize = 16 * 1024 * 1024;
/// A copy on which nothing has moved for this long is cut, and an answer to it that has not ended so long after the request.
pub(crate) const MIRROR_TIMEOUT: Duration = Duration::from_secs(15);
/// When the proxy drains, or the pod is released, a client connection without a request is closed after this long; whatever
/// it asks before is answered.
pub(crate) const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// After `Drain`, connections may live this long before they are cut.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(3600);

/// Weft's node proxy: carries the traffic of every captured pod on this node.
#[derive(Clone, Debug, Parser)]
#[command(name = "weft-proxy", version)]
pub(crate) struct Config {
    /// Name of this node, as in the pods' `spec.nodeName`.
    #[arg(long, env = "WEFT_NODE_NAME")]
    pub(crate) node_name: String,
    /// Directory of the agent's socket and our admin socket.
    #[arg(long, env = "WEFT_RUN_DIR", default_value = "/run/weft")]
    pub(crate) run_dir: PathBuf,
    /// Directory of the last good tables.
    #[arg(long, env = "WEFT_STATE_DIR", default_value = "/var/lib/weft")]
    pub(crate) state_dir: PathBuf,
    /// The operator's gRPC address.
    #[arg(
        long,
        env = "WEFT_OPERATOR",
        default_value = "http://weft-operator.weft-system:15012"
    )]
    pub(crate) operator: String,
    /// File with the projected ServiceAccount token (audience weft) that tells the operator on which node we are.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Prometheus scrapes here.
    #[arg(long, env = "WEFT_METRICS_LISTEN", default_value = "0.0.0.0:15020")]
    pub(crate) metrics_listen: SocketAddr,
    /// Readiness probes come here.
    #[arg(long, env = "WEFT_READY_LISTEN", default_value = "0.0.0.0:15021")]
    pub(crate) ready_listen: SocketAddr,
    /// Worker threads; 0 = one per core.
    #[arg(long, env = "WEFT_WORKERS", default_value_t = 0)]
    pub(crate) workers: usize,
    /// After SIGTERM, open connections may go on for this many seconds.
    #[arg(long, env = "WEFT_TERMINATION_GRACE", default_value_t = 10)]
    pub(crate) termination_grace: u64,
    /// When another proxy has taken over and nothing is left to carry, wait for SIGTERM instead of leaving: for
    /// supervisors that would start it anew, beside its successor (Kubernetes).
    #[arg(long, env = "WEFT_STAY_WHEN_DRAINED")]
    pub(crate) stay_when_drained: bool,
    /// Which requests are logged for namespaces that do not say themselves.
    #[arg(long, env = "WEFT_ACCESS_LOG", value_enum, default_value_t = AccessLog::Off)]
    pub(crate) access_log: AccessLog,
    /// Form of the access log.
    #[arg(long, env = "WEFT_ACCESS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) access_log_format: LogFormat,
    /// File of the access log, `-` = standard output.
    #[arg(long, env = "WEFT_ACCESS_LOG_FILE", default_value = "-")]
    pub(crate) access_log_file: PathBuf,
    /// Logging of the process.
    #[command(flatten)]
    pub(crate) logging: weft_service::log::LogArgs,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLog {
    /// None.
    Off,
    /// Failed ones and statuses from 400.
    Errors,
    /// All.
    All,
}

/// Form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Istio's default line.
    Text,
    /// Istio's JSON fields.
    Json,
}
