//! The way to a Kubernetes cluster, with kubectl's flags, and what every command needs to know of an installation there.
//!
//! Reads go by path and give plain JSON, because a command looks at few fields of many kinds; only what is written is an
//! object with an address ([`object`]).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::render;

pub(crate) mod object;
pub(crate) mod operator;
pub(crate) mod rollout;

/// Where Weft lives. Its own pods must never wait for its own plugin, so the plugin knows the name too.
pub(crate) const NAMESPACE: &str = "weft-system";
/// Selects every pod of Weft's.
pub(crate) const PARTS: &str = "app.kubernetes.io%2Fpart-of%3Dweft";

/// Limit of one TCP connect to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that stops for so long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Which cluster.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Access {
    /// Kubeconfig file; else KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; else its current one.
    #[arg(long)]
    context: Option<String>,
}

impl Access {
    /// A client; nothing is asked yet.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let said = format!("--kubeconfig {}", path.display());
                let file = Kubeconfig::read_from(path).with_context(|| said.clone())?;
                let config = Config::from_custom_kubeconfig(file, &options).await;
                config.context(said)?
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options)
                .await
                .context("--context: no usable kubeconfig (KUBECONFIG, ~/.kube/config)")?,
            None => Config::infer().await.context(
                "no cluster: set KUBECONFIG, give --kubeconfig FILE, or make ~/.kube/config",
            )?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        Client::try_from(config).context("cannot make a client for the API server")
    }
}

/// Runs a command to its exit code; an error is one line on standard error and the code 1.
pub(crate) fn run(command: impl Future<Output = anyhow::Result<u8>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start");
    match runtime.and_then(|runtime| runtime.block_on(command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            render::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What the API server answers at `path`.
pub(crate) async fn get(client: &Client, path: &str) -> Result<Value, kube::Error> {
    client.request(request(path)?).await
}

/// As [`get`]; `None` when there is no such thing.
pub(crate) async fn find(client: &Client, path: &str) -> Result<Option<Value>, kube::Error> {
    match get(client, path).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// A GET.
pub(crate) fn request(path: &str) -> Result<http::Request<Vec<u8>>, kube::Error> {
    http::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)
}

/// An error of the API in one line, with its causes: the library's own text often says only what was tried.
pub(crate) fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// A text of an object; empty when it is not there.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number of an object; 0 when it is not there, as the API leaves zeros out.
pub(crate) fn number(value: &Value, pointer: &str) -> i64 {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// A list of an object; empty when it is not there.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// Whether a condition of an object is `True`.
pub(crate) fn is_true(object: &Value, condition: &str) -> bool {
    list(object, "/status/conditions")
        .iter()
        .any(|said| text(said, "/type") == condition && text(said, "/status") == "True")
}

/// How long the operator, agents and proxies may take, and everything else that is waited for: `20s`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no duration like 20s"))?;
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit `{other}`; use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_everywhere() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        for bad in ["", "x", "5y", "-1s", "1e400s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
