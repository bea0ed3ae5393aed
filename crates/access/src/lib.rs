//! The way to a Kubernetes API server: which one, with which deadlines, and its errors in one line. Operator and command
//! line find the same server by the same rules and say the same when there is none.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Limit of one TCP connect to the API server.
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
    /// A client; nothing is asked yet. An answer that stops for `read_timeout` is given up.
    ///
    /// # Errors
    /// There is no configuration (the text is `none` then), or one that cannot be read; the text names the file.
    pub async fn client(
        &self,
        read_timeout: Duration,
        none: &'static str,
    ) -> anyhow::Result<Client> {
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
            None => Config::infer().await.context(none)?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(read_timeout);
        Client::try_from(config).context("cannot make a client for the API server")
    }
}

/// An error with its causes, in one line; the library's own text often says only what was tried.
#[must_use]
pub fn reason(error: &dyn std::error::Error) -> String {
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
