//! `weft completion SHELL`.

use std::process::ExitCode;

use clap_complete::{Shell, generate};

use crate::render;

/// Flags of `weft completion`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> ExitCode {
    let mut text = Vec::new();
    generate(args.shell, command, "weft", &mut text);
    render::raw(&text);
    ExitCode::SUCCESS
}
