//! The container runtime's half of CNI: picks the node's network as containerd does (the first valid file in order of
//! names), executes the chain forwards on ADD with each result given to the next, and backwards on DEL.
//!
//! DEL and CHECK use the configuration that ADD used, whatever the directory holds by then, as a runtime's cache does.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use weft_netns::Netns;

use crate::object::{list, text};
use crate::preflight::PATH;

/// The one interface of a pod.
pub const INTERFACE: &str = "eth0";
/// Longest run of one plugin.
const PLUGIN_DEADLINE: Duration = Duration::from_secs(30);
/// CNI error code of a failure that the plugin did not describe.
const CODE_UNDESCRIBED: u64 = 999;

/// A network configuration list.
#[derive(Clone, Debug)]
pub struct Network {
    name: String,
    version: String,
    plugins: Vec<Value>,
    /// File it came from.
    pub file: PathBuf,
}

/// One attachment of a pod to its network, as a runtime's cache keeps it.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Sandbox id.
    pub container_id: String,
    /// Path of the namespace.
    pub netns: PathBuf,
    /// `CNI_ARGS`.
    pub arguments: String,
    /// The network at the time of ADD.
    pub network: Network,
    /// Result of the last plugin.
    pub result: Value,
}

/// What a plugin answered when it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CNI plugin {plugin}: {message} (code {code})")]
pub struct CniError {
    /// Plugin type.
    pub plugin: String,
    /// CNI error code; 11 means try again later.
    pub code: u64,
    /// Its words.
    pub message: String,
}

impl CniError {
    fn new(plugin: &str, code: u64, message: impl Into<String>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            code,
            message: message.into(),
        }
    }
}

impl Network {
    /// The first valid configuration of a directory.
    ///
    /// # Errors
    /// There is none.
    pub fn load(directory: &Path) -> Result<Self, CniError> {
        let none = || CniError::new("-", 7, format!("no network in {}", directory.display()));
        let mut files: Vec<PathBuf> = fs::read_dir(directory)
            .map_err(|_| none())?
            .flatten()
            .map(|e| e.path())
            .collect();
        files.retain(|f| {
            f.extension()
                .is_some_and(|e| ["conf", "conflist", "json"].iter().any(|x| e == *x))
        });
        files.sort();
        files.into_iter().find_map(Self::read).ok_or_else(none)
    }

    fn read(file: PathBuf) -> Option<Self> {
        let content: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        let plugins = match list(&content, "/plugins") {
            [] if text(&content, "/type").is_some() => vec![content.clone()],
            plugins => plugins.to_vec(),
        };
        let valid = !plugins.is_empty() && plugins.iter().all(|p| text(p, "/type").is_some());
        let name = text(&content, "/name").unwrap_or_default().to_owned();
        let version = text(&content, "/cniVersion").unwrap_or("0.1.0").to_owned();
        valid.then_some(Self {
            name,
            version,
            plugins,
            file,
        })
    }

    /// Plugin types in order.
    #[must_use]
    pub fn types(&self) -> Vec<&str> {
        self.plugins
            .iter()
            .filter_map(|p| text(p, "/type"))
            .collect()
    }

    fn configuration(&self, plugin: &Value, previous: Option<&Value>) -> Value {
        let mut configuration = plugin.clone();
        configuration["name"] = json!(self.name);
        configuration["cniVersion"] = json!(self.version);
        if let Some(previous) = previous {
            configuration["prevResult"] = previous.clone();
        }
        configuration
    }
}

/// Where and with which plugins a chain is executed.
#[derive(Debug)]
pub struct Runtime<'a> {
    /// The node's namespace.
    pub node: &'a Netns,
    /// `CNI_PATH`.
    pub path: &'a [PathBuf],
}

impl Runtime<'_> {
    /// Attaches a pod: all plugins of the network in order.
    ///
    /// # Errors
    /// The first plugin that fails; the caller must `del` then.
    pub async fn add(&self, attachment: &mut Attachment) -> Result<(), CniError> {
        let network = attachment.network.clone();
        let mut previous: Option<Value> = None;
        for plugin in &network.plugins {
            let configuration = network.configuration(plugin, previous.as_ref());
            let output = self.execute("ADD", attachment, &configuration).await?;
            previous = Some(output.ok_or_else(|| {
                CniError::new(
                    text(plugin, "/type").unwrap_or("-"),
                    CODE_UNDESCRIBED,
                    "no result",
                )
            })?);
        }
        attachment.result = previous.unwrap_or(Value::Null);
        Ok(())
    }

    /// Is the attachment still as ADD made it?
    ///
    /// # Errors
    /// The first plugin that finds otherwise.
    pub async fn check(&self, attachment: &Attachment) -> Result<(), CniError> {
        for plugin in &attachment.network.plugins {
            let configuration = attachment
                .network
                .configuration(plugin, Some(&attachment.result));
            self.execute("CHECK", attachment, &configuration).await?;
        }
        Ok(())
    }

    /// Detaches a pod: plugins in reverse order; an error halts the chain.
    ///
    /// # Errors
    /// The first plugin that fails.
    pub async fn del(&self, attachment: &Attachment) -> Result<(), CniError> {
        let previous = (!attachment.result.is_null()).then_some(&attachment.result);
        for plugin in attachment.network.plugins.iter().rev() {
            let configuration = attachment.network.configuration(plugin, previous);
            self.execute("DEL", attachment, &configuration).await?;
        }
        Ok(())
    }

    async fn execute(
        &self,
        command: &str,
        attachment: &Attachment,
        configuration: &Value,
    ) -> Result<Option<Value>, CniError> {
        let plugin = text(configuration, "/type").unwrap_or("-");
        let broken = |message: String| CniError::new(plugin, CODE_UNDESCRIBED, message);
        let program = self
            .path
            .iter()
            .map(|d| d.join(plugin))
            .find(|p| p.is_file())
            .ok_or_else(|| broken(format!("not found in {:?}", self.path)))?;
        let mut process = tokio::process::Command::new(&program);
        process
            .env_clear()
            .env("PATH", PATH)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &attachment.container_id)
            .env("CNI_NETNS", &attachment.netns)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_ARGS", &attachment.arguments)
            .env(
                "CNI_PATH",
                self.path
                    .iter()
                    .map(|p| p.to_string_lossy())
                    .collect::<Vec<_>>()
                    .join(":"),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let spawned = self
            .node
            .run(|| process.spawn())
            .map_err(|e| broken(e.to_string()))?;
        let mut child = spawned.map_err(|e| broken(format!("{}: {e}", program.display())))?;
        if let Some(mut input) = child.stdin.take() {
            // A plugin that fails early does not read: its answer says why.
            let _ = input.write_all(configuration.to_string().as_bytes()).await;
        }
        let output = tokio::time::timeout(PLUGIN_DEADLINE, child.wait_with_output())
            .await
            .map_err(|_| broken(format!("{command} took more than {PLUGIN_DEADLINE:?}")))?
            .map_err(|e| broken(e.to_string()))?;
        let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        if output.status.success() {
            return Ok(answer);
        }
        Err(match answer {
            Some(error) => CniError::new(plugin, code_of(&error), words_of(&error)),
            None => broken(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        })
    }
}

fn code_of(error: &Value) -> u64 {
    error
        .get("code")
        .and_then(Value::as_u64)
        .unwrap_or(CODE_UNDESCRIBED)
}

fn words_of(error: &Value) -> String {
    let message = text(error, "/msg").unwrap_or("no message");
    match text(error, "/details").filter(|d| !d.is_empty()) {
        Some(details) => format!("{message}: {details}"),
        None => message.to_owned(),
    }
}

/// The pod's addresses in a CNI result, in its order.
#[must_use]
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let found = list(result, "/ips")
        .iter()
        .filter_map(|ip| text(ip, "/address"));
    found
        .filter_map(|a| a.split('/').next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_valid_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
        assert!(Network::load(dir.path()).is_err());
        write("00-broken.conflist", "{");
        write("05-empty.conflist", r#"{"name":"e","plugins":[]}"#);
        write(
            "10-b.conflist",
            r#"{"cniVersion":"1.0.0","name":"b","plugins":[{"type":"x"},{"type":"y"}]}"#,
        );
        write(
            "20-c.conf",
            r#"{"cniVersion":"0.4.0","name":"c","type":"z"}"#,
        );
        write("01-not.bak", r#"{"name":"n","type":"z"}"#);
        assert_eq!(Network::load(dir.path()).unwrap().types(), ["x", "y"]);
        fs::remove_file(dir.path().join("10-b.conflist")).unwrap();
        assert_eq!(Network::load(dir.path()).unwrap().types(), ["z"]);
    }

    #[test]
    fn addresses_of_a_result() {
        let result = json!({"ips": [{"address": "10.244.1.2/24"}, {"address": "fd00::2/64"}]});
        assert_eq!(addresses(&result).len(), 2);
        assert!(addresses(&json!({})).is_empty());
    }
}
