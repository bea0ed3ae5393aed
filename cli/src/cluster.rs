//! The way to a Kubernetes cluster, with kubectl's flags, and what every command needs to know of an installation there.
//!
//! Reads go by path and give plain JSON, because a command looks at few fields of many kinds; only what is written is an
//! object with an address ([`object`]).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use serde_json::Value;

use crate::render;

pub(crate) mod object;
pub(crate) mod operator;
pub(crate) mod rollout;

/// Where Weft lives. Its own pods must never wait for its own plugin, so the plugin knows the name too.
pub(crate) const NAMESPACE: &str = "weft-system";
/// Selects every pod of Weft's.
pub(crate) const PARTS: &str = "app.kubernetes.io%2Fpart-of%3Dweft";

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
        let access = weft_access::Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        };
        access
            .client(
                READ_TIMEOUT,
                "no cluster: set KUBECONFIG, give --kubeconfig FILE, or make ~/.kube/config",
            )
            .await
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

/// An error of the API in one line: the server's own words where it has said some.
pub(crate) fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    weft_access::reason(error)
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
