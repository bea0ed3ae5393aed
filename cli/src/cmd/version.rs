//! `weft version`.

use std::process::ExitCode;

use serde_json::json;

use crate::render::{self, Format};

/// Flags of `weft version`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    match args.output {
        Format::Table => render::line(&format!("weft {version}")),
        format => render::value(format, &json!({ "version": version })),
    }
    ExitCode::SUCCESS
}
