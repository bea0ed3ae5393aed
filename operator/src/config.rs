//! The operator's flags; each has an environment twin.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use weft_compile::Settings;
use weft_service::log::LogArgs;

/// Compiles manifests and pushes each node what its pods need.
#[derive(Clone, Debug, Parser)]
#[command(name = "weft-operator", version)]
pub struct Config {
    /// Directory of manifests, read recursively and watched. May be given several times; an object in a later one
    /// replaces the same object of an earlier one.
    #[arg(
        long,
        env = "WEFT_MANIFESTS",
        value_name = "DIR",
        required = true,
        value_delimiter = ','
    )]
    pub manifests: Vec<PathBuf>,
    /// Where nodes connect (gRPC).
    #[arg(long, env = "WEFT_LISTEN", default_value = "0.0.0.0:15012")]
    pub listen: SocketAddr,
    /// Where metrics, readiness and diagnostics are served.
    #[arg(long, env = "WEFT_METRICS_LISTEN", default_value = "0.0.0.0:15014")]
    pub metrics_listen: SocketAddr,
    /// Suffix of service names.
    #[arg(long, env = "WEFT_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Value of the cluster labels in metrics.
    #[arg(long, env = "WEFT_CLUSTER_NAME", default_value = "Kubernetes")]
    pub cluster_name: String,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Config {
    /// What the compiler needs to know.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            cluster_domain: self.cluster_domain.clone(),
            cluster_name: self.cluster_name.clone(),
            ..Settings::default()
        }
    }
}
