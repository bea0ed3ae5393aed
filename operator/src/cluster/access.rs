//! The way to the API server: by the pod's own service account, or by a kubeconfig.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::source::kubernetes::WATCH_SECONDS;

/// An answer that stops for so long is given up; longer than a watch may be silent.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);
/// Limit of one TCP connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which API server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// File, else `KUBECONFIG`, else the pod's own service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, else its current one.
    pub context: Option<String>,
}

impl Access {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// When there is no configuration, or one that cannot be read; the text names the file.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let said = format!("--kubeconfig {}", path.display());
                let file = Kubeconfig::read_from(path).with_context(|| said.clone())?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .context(said)?
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options)
                .await
                .context("--context: no usable kubeconfig (KUBECONFIG, ~/.kube/config)")?,
            None => Config::infer().await.context(
                "no access to Kubernetes: run in a pod with a service account, or give --kubeconfig",
            )?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        Client::try_from(config).context("cannot make a client for the API server")
    }
}

/// An error with its causes, in one line; the library's own text often says only what was tried.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
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
