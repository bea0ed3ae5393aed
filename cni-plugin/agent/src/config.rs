//! The agent's flags; each has an environment twin.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use weft_service::log::LogArgs;

/// The node agent of Weft: installs the CNI plugin, captures pods, owns their listening sockets.
#[derive(Clone, Debug, Parser)]
#[command(name = "weft-agent", version)]
pub(crate) struct Config {
    /// Name of this node, as pods are bound to it.
    #[arg(long, env = "WEFT_NODE_NAME")]
    pub(crate) node_name: String,
    /// Sockets and records; need not survive a reboot.
    #[arg(long, env = "WEFT_RUN_DIR", default_value = "/run/weft")]
    pub(crate) run_dir: PathBuf,
    /// What must survive a reboot.
    #[arg(long, env = "WEFT_STATE_DIR", default_value = "/var/lib/weft")]
    pub(crate) state_dir: PathBuf,
    /// The operator, as http://HOST:15012.
    #[arg(long, env = "WEFT_OPERATOR")]
    pub(crate) operator: String,
    /// File with the projected ServiceAccount token (audience weft) that tells the operator on which node we are.
    #[arg(long, env = "WEFT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Directory in which the runtime looks for plugins.
    #[arg(long, env = "WEFT_CNI_BIN_DIR", default_value = "/opt/cni/bin")]
    pub(crate) cni_bin_dir: PathBuf,
    /// Directory in which the runtime looks for network configurations.
    #[arg(long, env = "WEFT_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    pub(crate) cni_conf_dir: PathBuf,
    /// The weft-cni binary to install.
    #[arg(long, env = "WEFT_PLUGIN", default_value = "/usr/local/bin/weft-cni")]
    pub(crate) plugin: PathBuf,
    /// Directory in which the runtime names network namespaces.
    #[arg(long, env = "WEFT_NETNS_DIR", default_value = "/run/netns")]
    pub(crate) netns_dir: PathBuf,
    /// Where /metrics and /healthz/ready are served.
    #[arg(long, env = "WEFT_METRICS_LISTEN", default_value = "0.0.0.0:15019")]
    pub(crate) metrics_listen: SocketAddr,
    /// Flavour of the packet rules; auto tries both and prefers nft.
    #[arg(long, env = "WEFT_IPTABLES", default_value = "auto", value_enum)]
    pub(crate) iptables: Flavour,
    /// Takes every pod of this node out of the mesh and the plugin out of the network configuration, keeps it so, and
    /// removes all files of ours when it is stopped: the first step of an orderly removal.
    #[arg(long, env = "WEFT_LEAVE")]
    pub(crate) leave: bool,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Which iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavour {
    /// What works, nft first.
    Auto,
    /// Over nf_tables.
    Nft,
    /// Over x_tables.
    Legacy,
}
