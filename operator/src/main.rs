//! `weft-operator`: compiles manifests and pushes each node what its pods need.

use std::io::Write;
use std::process::ExitCode;

use weft_operator::app;
use weft_operator::cluster::{crds, rbac};
use weft_operator::config::{Command, Config};
use weft_service::{config, log};

#[tokio::main]
async fn main() -> ExitCode {
    let (config, startup) = config::parse::<Config>();
    let ended = match &config.command {
        Some(command) => print(command, &config),
        None => match log::init(&config.log) {
            Ok(()) => {
                startup.report("weft-operator", app::VERSION);
                app::run(config).await
            }
            Err(error) => Err(error),
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("weft-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(command: &Command, config: &Config) -> anyhow::Result<()> {
    let text = match command {
        Command::Crds => crds::text(),
        Command::Rbac { account } => rbac::manifests(&config.namespace, account),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
