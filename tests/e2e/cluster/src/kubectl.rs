//! Kubernetes' own client as the tests' verbs: what a user would type is what a test does.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cluster::Cluster;

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; 128 or more when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether the code is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Standard output, if the code is 0.
    ///
    /// # Errors
    /// Any other code; both streams are in the message.
    pub fn text(self) -> anyhow::Result<String> {
        if !self.success() {
            bail!("exit code {}\n{}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// Runs a command to its end, with this on its standard input.
///
/// # Errors
/// It cannot be started.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> anyhow::Result<Finished> {
    use std::os::unix::process::ExitStatusExt;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A program that ends without reading is no fault of the writer.
        scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input)));
        child.wait_with_output()
    })?;
    let status = output.status;
    Ok(Finished {
        code: status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Cluster {
    /// Runs `kubectl` with these arguments.
    ///
    /// # Errors
    /// It cannot be started; a failure of kubectl is in the result.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        finish(self.kubectl_command().args(arguments), b"")
    }

    /// As [`kubectl`](Self::kubectl), and it must succeed; gives its output.
    ///
    /// # Errors
    /// Any exit code but 0.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl(arguments)?
            .text()
            .with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    /// The object is not there.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let all: Vec<&str> = ["get", "-o", "json"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        serde_json::from_str(&self.kubectl_ok(&all)?).context("kubectl printed no JSON")
    }

    /// Applies manifests on the server's side; field conflicts are ours.
    ///
    /// # Errors
    /// The API server refuses one; its words are in the message.
    pub fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        let mut command = self.kubectl_command();
        command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        finish(&mut command, manifests.as_bytes())?
            .text()
            .context("kubectl apply")?;
        Ok(())
    }

    /// `kubectl wait --for=CONDITION …`.
    ///
    /// # Errors
    /// Not within `deadline`; what the objects look like by then is in the message.
    pub fn wait(
        &self,
        condition: &str,
        objects: &[&str],
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let condition = format!("--for={condition}");
        let timeout = format!("--timeout={}s", deadline.as_secs().max(1));
        let mut all = vec!["wait", condition.as_str(), timeout.as_str()];
        all.extend(objects);
        let finished = self.kubectl(&all)?;
        if finished.success() {
            return Ok(());
        }
        let mut describe = vec!["describe"];
        describe.extend(objects);
        let state = self.kubectl(&describe)?.stdout;
        bail!("kubectl {}\n{}\n{state}", all.join(" "), finished.stderr)
    }

    /// Runs a command in a pod, chosen as kubectl does: `-n`, `shop`, `deploy/client`, or a pod's name.
    ///
    /// # Errors
    /// kubectl cannot be started; the command's own failure is in the result.
    pub fn exec(&self, pod: &[&str], command: &[&str]) -> anyhow::Result<Finished> {
        let mut all = vec!["exec"];
        all.extend(pod);
        all.push("--");
        all.extend(command);
        self.kubectl(&all)
    }
}
