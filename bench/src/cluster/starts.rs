//! How long a pod's sandbox takes, by containerd's own log: from the kubelet's call to its return. The difference between
//! pods without Weft and pods of the mesh is what our plugin adds to a start.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::Context;
use serde::Serialize;
use weft_cluster::{Cluster, Node};

use super::installation::{Installation, PATIENCE};
use super::{MESHED, PLAIN, Spread};

/// Pods that start at once in the second run.
const PARALLEL: usize = 20;

/// What there is of Weft when a pod starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing is installed.
    Without,
    /// The plugin is called and says that the pod is none of the mesh's.
    Outside,
    /// The pod is captured before it starts.
    Inside,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Starts {
    state: State,
    at_once: usize,
    sandbox: Spread,
    /// Of it, what the agents took to answer the plugin's ADD: the mean by their own clocks.
    agent_mean_ms: Option<f64>,
}

impl Starts {
    pub(crate) fn line(&self) -> String {
        let Spread { p50_ms, p99_ms, .. } = self.sandbox;
        format!(
            "sandboxes, {:?}, {} at once: p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms, agent {:?} ms",
            self.state, self.at_once, self.agent_mean_ms
        )
    }
}

/// Starts pods on the first node, one after the other and then many at once.
pub(crate) fn measure(
    cluster: &Cluster,
    installation: Option<&Installation<'_>>,
    state: State,
    alone: usize,
) -> anyhow::Result<Vec<Starts>> {
    let answered = || installation.map_or(Ok((0.0, 0.0)), Installation::adds);
    let namespace = match state {
        State::Inside => MESHED,
        State::Without | State::Outside => PLAIN,
    };
    let node = cluster.node(1)?;
    let word = format!("{state:?}").to_lowercase();
    let one = |number: usize| vec![format!("{word}-one-{number}")];
    let many = |round: usize| {
        (0..PARALLEL)
            .map(|n| format!("{word}-many-{round}-{n}"))
            .collect()
    };
    let runs = [
        (1, (0..alone).map(one).collect::<Vec<_>>()),
        (PARALLEL, (0..3).map(many).collect()),
    ];
    let mut rows = Vec::new();
    for (at_once, waves) in runs {
        let (mut times, before) = (Vec::new(), answered()?);
        for names in waves {
            start(cluster, node, namespace, &names)?;
            times.extend(sandboxes(node, &names)?);
        }
        let after = answered()?;
        let count = after.0 - before.0;
        rows.push(Starts {
            state,
            at_once,
            sandbox: Spread::of(times),
            // Pods outside the mesh pass without the agent.
            agent_mean_ms: (count > 0.0).then(|| (after.1 - before.1) / count * 1e3),
        });
    }
    Ok(rows)
}

/// Starts pods, waits until all run, and removes them.
fn start(cluster: &Cluster, node: &Node, namespace: &str, names: &[String]) -> anyhow::Result<()> {
    let mut manifests = String::new();
    for name in names {
        let _ = write!(
            manifests,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
             nodeName: {}\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: app, image: \
             \"weft.local/sample:1\", imagePullPolicy: Never}}]\n",
            node.name()
        );
    }
    cluster.apply(&manifests)?;
    // One watch: asking again and again would cost what is measured.
    let all = ["-n", namespace, "pods", "--all"];
    cluster.wait("condition=Ready", &all, PATIENCE)?;
    let delete = ["-n", namespace, "delete", "pods", "--all", "--wait=true"];
    cluster.kubectl_ok(&delete)?;
    Ok(())
}

/// Milliseconds of each pod's sandbox, of containerd's log.
fn sandboxes(node: &Node, names: &[String]) -> anyhow::Result<Vec<f64>> {
    let file = node.directory().join("containerd.log");
    let log = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let times = durations(&log);
    let time = |name: &String| {
        let found = times.get(name.as_str()).copied();
        found.with_context(|| format!("{}: no sandbox of {name}", file.display()))
    };
    names.iter().map(time).collect()
}

/// By pod: from "RunPodSandbox for …" to "RunPodSandbox for … returns sandbox id".
fn durations(log: &str) -> HashMap<&str, f64> {
    let (mut begun, mut found) = (HashMap::new(), HashMap::new());
    for line in log
        .lines()
        .filter(|line| line.contains("RunPodSandbox for"))
    {
        let name = between(line, "PodSandboxMetadata{Name:", ",");
        let time = between(line, "time=\"", "\"").and_then(of_day);
        let (Some(name), Some(time)) = (name, time) else {
            continue;
        };
        if !line.contains("returns sandbox id") {
            begun.insert(name, time);
        } else if let Some(begun) = begun.get(name) {
            let ms: f64 = time - begun;
            // Midnight in between.
            found.insert(name, if ms < 0.0 { ms + 86_400_000.0 } else { ms });
        }
    }
    found
}

fn between<'l>(line: &'l str, before: &str, after: &str) -> Option<&'l str> {
    line.split_once(before)?.1.split(after).next()
}

/// Milliseconds since midnight of `2026-11-21T19:07:18.298179385Z`.
fn of_day(stamp: &str) -> Option<f64> {
    let (_, clock) = stamp.split_once('T')?;
    let clock = clock.get(..clock.find(|c: char| !c.is_ascii_digit() && !":.".contains(c))?)?;
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1e3)
}

#[cfg(test)]
mod tests {
    use super::durations;

    #[test]
    fn containerds_log_tells_how_long_a_sandbox_took() {
        let log = r#"
time="2026-11-21T19:07:18.298179385Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:a-1,Uid:x,Namespace:plain,Attempt:0,}"
time="2026-11-21T19:07:18.300000000Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:b,Uid:y,Namespace:plain,Attempt:0,}"
time="2026-11-21T19:07:18.398179385Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:a-1,Uid:x,Namespace:plain,Attempt:0,} returns sandbox id \"ed7\""
"#;
        let found = durations(log);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!((found["a-1"] - 100.0).abs() < 0.01, "{found:?}");
    }
}
