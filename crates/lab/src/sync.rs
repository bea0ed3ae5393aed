//! Whether what the user saved is in force: read by the operator, acknowledged by every node.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use crate::daemon::{Part, address};
use crate::lab::Lab;
use crate::manifests::files;
use crate::object::text;
use crate::topology::ROOT_IP;
use crate::verb::http;

/// Between two looks at the operator's pages.
const SYNC_PERIOD: Duration = Duration::from_millis(10);

impl Lab {
    /// Waits until the operator has read every manifest as it lies on the disk, and every agent and proxy has
    /// acknowledged the tables made of them.
    ///
    /// # Errors
    /// Not within `deadline`; quotes the file that was not read, or the operator's list of nodes.
    pub async fn synced(&self, deadline: Duration) -> anyhow::Result<()> {
        let started = tokio::time::Instant::now();
        loop {
            let read = self
                .operator("/debug/manifests")
                .await
                .unwrap_or(Value::Null);
            let Some(unread) = self.unread(&read) else {
                break;
            };
            if started.elapsed() > deadline {
                bail!(
                    "the operator has not read {} within {deadline:?}",
                    unread.display()
                );
            }
            tokio::time::sleep(SYNC_PERIOD).await;
        }
        loop {
            let nodes = self.operator("/debug/nodes").await.unwrap_or(Value::Null);
            if all_acknowledged(&nodes, 2 * self.nodes().len()) {
                return Ok(());
            }
            if started.elapsed() > deadline {
                bail!("the nodes have not acknowledged the tables within {deadline:?}: {nodes}");
            }
            tokio::time::sleep(SYNC_PERIOD).await;
        }
    }

    /// A manifest that the operator has not read in its present state; `read` is its own list.
    fn unread(&self, read: &Value) -> Option<PathBuf> {
        let mut directories = self.config().directories();
        directories.push(self.config().state());
        files(&directories, &mut Vec::new())
            .into_iter()
            .find(|path| {
                // A file that is gone by now is no manifest.
                let Ok(metadata) = std::fs::metadata(path) else {
                    return false;
                };
                let changed = serde_json::json!([metadata.ctime(), metadata.ctime_nsec()]);
                read.get(path.to_string_lossy().as_ref()) != Some(&changed)
            })
    }

    /// JSON of one of the operator's pages (`/debug/nodes`, `/debug/diagnostics`).
    ///
    /// # Errors
    /// The operator does not answer 200 with JSON.
    pub async fn operator(&self, path: &str) -> anyhow::Result<Value> {
        let port = Part::Operator.metrics_port();
        let response = http::get(address(ROOT_IP, port), path).await?;
        if response.status != 200 {
            bail!("operator {path}: {}", response.status);
        }
        Ok(serde_json::from_slice(&response.body)?)
    }
}

/// Every row of `/debug/nodes` has acknowledged the newest generation, and there are enough rows.
fn all_acknowledged(page: &Value, at_least: usize) -> bool {
    let newest = page.get("generation").and_then(Value::as_u64);
    let rows = page.get("nodes").and_then(Value::as_array);
    newest.is_some()
        && rows.is_some_and(|rows| {
            let acknowledged = |row: &Value| {
                text(row, "/node").is_some() && row.get("acked").and_then(Value::as_u64) >= newest
            };
            rows.len() >= at_least && rows.iter().all(acknowledged)
        })
}
