//! `weft check`: whether the cluster and Weft on it are as they should be, in Linkerd's shape. Facts are gathered once, then
//! judged by functions without a cluster; a fact that could not be had is a failing line, not the end of the check.
//!
//! The exit code is 0 when no line failed (warnings do not count), else 1.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use self::facts::Facts;
use self::report::Report;
use crate::cluster::{self, Access, duration};
use crate::render::{self, Format};

mod facts;
mod gateway_api;
mod installed;
mod pre;
mod report;

/// Between two rounds while it waits.
const LOOK: Duration = Duration::from_secs(1);

/// Flags of `weft check`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    /// Whether Weft can be installed here, instead of whether it is well.
    #[arg(long)]
    pre: bool,
    /// Repeats the check until nothing fails, for at most this long.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    cluster::run(check(args))
}

async fn check(args: &Args) -> anyhow::Result<u8> {
    let client = args.access.client().await?;
    let deadline = Instant::now() + args.wait.unwrap_or_default();
    let mut waited = String::new();
    let report = loop {
        let facts = Facts::gather(&client, args.pre).await;
        let report = Report::new(match args.pre {
            true => pre::sections(&facts),
            false => installed::sections(&facts),
        });
        let Some(failing) = report.first_failure() else {
            break report;
        };
        if Instant::now() >= deadline {
            break report;
        }
        if failing != waited {
            render::note(&format!("waiting: {failing}"));
            waited = failing;
        }
        tokio::time::sleep(LOOK).await;
    };
    match args.output {
        Format::Table => render::raw(report.text().as_bytes()),
        format => render::value(format, &report.json()),
    }
    Ok(u8::from(report.first_failure().is_some()))
}
