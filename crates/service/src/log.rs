//! Logging to stderr, as text for people or JSON for collectors. Stdout stays free for output that programs read.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// The two flags of every daemon; flatten into its config.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Level, or directives such as `info,weft_proxy=debug`.
    #[arg(long, env = "WEFT_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How lines look.
    #[arg(long, env = "WEFT_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: Format,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Installs the process's logger. Fails when the level cannot be parsed or a logger is already installed.
pub fn init(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_level).with_context(|| {
        format!(
            "--log-level {:?}: give a level (error, warn, info, debug, trace)",
            args.log_level
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let installed = match args.log_format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the logger: {error}"))
}
