//! `weft-operator`: compiles manifests and pushes each node what its pods need.

use std::process::ExitCode;

use weft_operator::{app, config::Config};
use weft_service::{config, log};

#[tokio::main]
async fn main() -> ExitCode {
    let (config, startup) = config::parse::<Config>();
    let started = log::init(&config.log).map(|()| startup.report("weft-operator", app::VERSION));
    let ended = match started {
        Ok(()) => app::run(config).await,
        Err(error) => Err(error),
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
