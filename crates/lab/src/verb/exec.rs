//! Commands inside a pod, and its packet rules.

use std::path::Path;
use std::process::Output as Finished;
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::container::{Output, Process};
use crate::view::Pod;

/// Runs a command in the pod's network namespace with the pod's hosts file, as `kubectl exec` does.
///
/// # Errors
/// The pod has no namespace yet, or the command cannot be started. A command that fails is no error.
pub async fn exec(pod: &Pod, command: &[&str]) -> anyhow::Result<Finished> {
    let ns = pod
        .netns
        .as_ref()
        .with_context(|| format!("{} has no namespace yet", pod.name))?;
    let process = Process {
        netns: Arc::clone(ns),
        hosts: pod.hosts_file.clone(),
        resolv: Path::new("/dev/null").to_owned(),
        arguments: command.iter().map(|a| (*a).to_owned()).collect(),
        environment: vec![("HOSTNAME".to_owned(), pod.name.clone())],
        output: Output::Pipes,
    };
    Ok(process.start().await?.wait_with_output().await?)
}

/// The pod's packet rules of both families, without counters and comments: `iptables-save` and `ip6tables-save`.
/// `flavour` is `nft` or `legacy`.
///
/// # Errors
/// The tool is missing or fails.
pub async fn rules(pod: &Pod, flavour: &str) -> anyhow::Result<String> {
    let mut all = String::new();
    for family in ["iptables", "ip6tables"] {
        let tool = format!("{family}-{flavour}-save");
        let output = exec(pod, &[&tool]).await?;
        if !output.status.success() {
            bail!("{tool}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            // Chain lines end in counters: ":OUTPUT ACCEPT [12:345]".
            all.push_str(line.split(" [").next().unwrap_or(line));
            all.push('\n');
        }
    }
    Ok(all)
}
