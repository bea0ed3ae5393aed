//! The operator's flags; each has an environment twin.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use weft_compile::Settings;
use weft_service::log::LogArgs;

use weft_access::Access;

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
        conflicts_with_all = ["kubernetes", "kubeconfig", "context"],
        value_delimiter = ','
    )]
    pub manifests: Vec<PathBuf>,
    /// Read the Kubernetes API instead of a directory; the default in a pod.
    #[arg(long, env = "WEFT_KUBERNETES")]
    pub kubernetes: bool,
    /// How to reach the API server; else KUBECONFIG, the pod's own service account, ~/.kube/config.
    #[arg(long, env = "WEFT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; else its current one.
    #[arg(long, env = "WEFT_CONTEXT")]
    pub context: Option<String>,
    /// What the kubelet sets in every pod.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    pub kubernetes_service_host: Option<String>,
    /// Namespace of the operator: of its lease, and of agent and proxy.
    #[arg(long, env = "WEFT_NAMESPACE", default_value = "weft-system")]
    pub namespace: String,
    /// Name of this replica in the lease, not shared by any other; the pod's name as a rule. Else host name and process.
    #[arg(long, env = "WEFT_IDENTITY")]
    pub identity: Option<String>,
    /// Service accounts in the operator's namespace whose pods get tables, of their own node only.
    #[arg(
        long,
        env = "WEFT_NODE_ACCOUNTS",
        value_delimiter = ',',
        default_value = "weft-agent,weft-proxy"
    )]
    pub node_accounts: Vec<String>,
    /// Where nodes connect (gRPC).
    #[arg(long, env = "WEFT_LISTEN", default_value = "0.0.0.0:15012")]
    pub listen: SocketAddr,
    /// Where metrics, readiness and diagnostics are served.
    #[arg(long, env = "WEFT_METRICS_LISTEN", default_value = "0.0.0.0:15014")]
    pub metrics_listen: SocketAddr,
    /// Address of this pod: replicas that do not lead send nodes to the leader's. Else the address of --listen, if it is one.
    #[arg(long, env = "WEFT_POD_IP", value_name = "ADDRESS")]
    pub pod_ip: Option<IpAddr>,
    /// Suffix of service names.
    #[arg(long, env = "WEFT_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Value of the cluster labels in metrics.
    #[arg(long, env = "WEFT_CLUSTER_NAME", default_value = "Kubernetes")]
    pub cluster_name: String,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
    /// Something else than running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the operator can print instead of running.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Prints the CustomResourceDefinitions, for a cluster that has none of Istio's own.
    Crds,
    /// Prints the permissions that the operator needs.
    Rbac {
        /// Service account that the operator runs as.
        #[arg(long, default_value = "weft-operator")]
        account: String,
    },
}

/// Where manifests come from.
#[derive(Clone, Debug)]
pub enum From {
    /// Directories in rising rank.
    Directories(Vec<PathBuf>),
    /// The API server.
    Cluster(Access),
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

    /// Name of this replica in the lease.
    #[must_use]
    pub fn identity(&self) -> String {
        self.identity.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        })
    }

    /// Where nodes reach this replica and no other.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let listens = Some(self.listen.ip()).filter(|ip| !ip.is_unspecified());
        let ip = self.pod_ip.or(listens)?;
        Some(SocketAddr::new(ip, self.listen.port()))
    }

    /// Where manifests come from.
    ///
    /// # Errors
    /// When nothing says so.
    pub fn from(&self) -> anyhow::Result<From> {
        if !self.manifests.is_empty() {
            return Ok(From::Directories(self.manifests.clone()));
        }
        let asked = self.kubernetes || self.kubeconfig.is_some() || self.context.is_some();
        if !asked && self.kubernetes_service_host.is_none() {
            anyhow::bail!(
                "nothing to read: give --manifests DIR, or --kubernetes (with --kubeconfig FILE outside a cluster)"
            );
        }
        Ok(From::Cluster(Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_excludes_the_api_and_nothing_at_all_is_an_error() {
        let parse = |words: &[&str]| Config::try_parse_from(["weft-operator"].iter().chain(words));
        assert!(parse(&["--manifests", "/m", "--kubernetes"]).is_err());
        let from = |words: &[&str]| parse(words).unwrap().from();
        assert!(matches!(
            from(&["--manifests", "/m"]),
            Ok(From::Directories(_))
        ));
        assert!(matches!(
            from(&["--kubeconfig", "/k"]),
            Ok(From::Cluster(_))
        ));
        assert!(matches!(
            from(&["--kubernetes-service-host", "10.96.0.1"]),
            Ok(From::Cluster(_))
        ));
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
            assert!(from(&[]).is_err());
        }
    }
}
