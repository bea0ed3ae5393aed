//! What the suite finds: the backends' image, the API's definitions, and the mesh.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use weft_cluster::{Cluster, Progress, program_image, programs};
use weft_oci::{Content, Image};

/// The API server has read new definitions.
const ESTABLISHED: Duration = Duration::from_secs(60);
/// The namespace of the suite's two backends.
pub(crate) const BACKENDS: &str = "gateway-conformance-mesh";
/// Images that `cargo xtask images` makes, without registry and tag.
const PARTS: [&str; 3] = ["agent", "proxy", "operator"];

/// Istio's echo under the name that the suite's manifests ask for, with a certificate of our own making.
pub(crate) fn echo_image(cluster: &Cluster, programs: &Path) -> anyhow::Result<()> {
    if cluster.is_given() {
        // Its nodes pull from registries.
        return Ok(());
    }
    let manifests = module("sigs.k8s.io/gateway-api/conformance")?.join("mesh/manifests.yaml");
    let text = fs::read_to_string(&manifests)
        .with_context(|| format!("cannot read {}", manifests.display()))?;
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .collect();
    names.dedup();
    let [name] = names.as_slice() else {
        bail!("the suite's mesh manifests name other images than one: {names:?}");
    };
    let read =
        |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let keys = cluster
        .kubeconfig()
        .parent()
        .context("credentials without a directory")?
        .to_owned();
    let base = program_image(name, &programs.join("server"))?;
    let image = Image {
        entrypoint: vec!["/usr/local/bin/server".into()],
        env: [("PATH".to_owned(), "/usr/local/bin".to_owned())].into(),
        user: "1338".into(),
        files: [
            (
                "/usr/local/bin/server".to_owned(),
                Content::program(read(programs.join("server"))?),
            ),
            (
                "/usr/local/bin/client".to_owned(),
                Content::program(read(programs.join("client"))?),
            ),
            // Any pair does: the suite's clients do not check it.
            (
                "/cert.crt".to_owned(),
                Content::text(read(keys.join("apiserver.crt"))?),
            ),
            (
                "/cert.key".to_owned(),
                Content::text(read(keys.join("apiserver.key"))?),
            ),
        ]
        .into(),
        ..base
    };
    cluster.import(&image.archive()?)
}

/// The standard channel, of the version that the suite has. Definitions that are there already are left as they are.
pub(crate) fn definitions(cluster: &Cluster) -> anyhow::Result<()> {
    let there = cluster.kubectl(&["get", "crd", "httproutes.gateway.networking.k8s.io"])?;
    if there.success() {
        return Ok(());
    }
    let directory = module("sigs.k8s.io/gateway-api")?.join("config/crd/standard");
    let directory = directory.display().to_string();
    cluster.kubectl_ok(&["apply", "--server-side", "-f", &directory])?;
    let all = ["crd", "--all"];
    cluster.wait("condition=Established", &all, ESTABLISHED)
}

/// All new pods on the first node.
pub(crate) fn keep_together(cluster: &Cluster) -> anyhow::Result<()> {
    let nodes = cluster.kubectl_ok(&["get", "nodes", "-o", "name"])?;
    for node in nodes.lines().skip(1) {
        cluster.kubectl_ok(&["cordon", node])?;
    }
    Ok(())
}

/// The suite's two backends on different nodes: the scheduler is told that each needs more than half of one. The suite
/// takes its namespace as it finds it.
pub(crate) fn keep_apart(cluster: &Cluster) -> anyhow::Result<()> {
    let path = "jsonpath={.items[0].status.allocatable.cpu}";
    let cpu = cluster.kubectl_ok(&["get", "nodes", "-o", path])?;
    let most = milli(&cpu).with_context(|| format!("a node has `{cpu}` CPUs"))? * 6 / 10;
    cluster.apply(&format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {BACKENDS}, labels: {{gateway-conformance: mesh}}}}
---
apiVersion: v1
kind: LimitRange
metadata: {{name: keep-apart, namespace: {BACKENDS}}}
spec: {{limits: [{{type: Container, defaultRequest: {{cpu: {most}m}}}}]}}
"
    ))
}

/// `2` or `1930m`.
fn milli(cpu: &str) -> Option<u64> {
    match cpu.trim().strip_suffix('m') {
        Some(milli) => milli.parse().ok(),
        None => cpu.trim().parse::<u64>().ok().map(|cores| cores * 1000),
    }
}

/// Weft, as its guide says: images onto the nodes, chart by helm.
pub(crate) fn weft(cluster: &Cluster, binaries: &Path, progress: &Progress) -> anyhow::Result<()> {
    if !cluster.is_given() {
        for part in PARTS {
            let file = binaries.join("images").join(format!("weft-{part}.tar"));
            let archive = fs::read(&file).with_context(|| {
                format!("cannot read {}: run `cargo xtask images`", file.display())
            })?;
            cluster.import(&archive)?;
        }
    }
    let helm = programs::HELM.ensure(progress)?.join("helm");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/charts/weft");
    let mut command = cluster.command(&helm);
    command
        .args(["install", "weft"])
        .arg(chart)
        .args(["--namespace", "weft-system", "--create-namespace"])
        .args(["--set", "image.registry=weft.local"])
        .args(["--set", "image.pullPolicy=Never"])
        .args(["--wait", "--timeout", "120s"]);
    let output = command.output().context("cannot start helm")?;
    if !output.status.success() {
        let pods = cluster.kubectl(&["describe", "pods", "-n", "weft-system"])?;
        bail!(
            "helm install: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            pods.stdout
        );
    }
    Ok(())
}

/// Where the Go module that the suite is built with lies.
fn module(name: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new(weft_cluster::go()?)
        .args(["list", "-m", "-f", "{{.Dir}}", name])
        .current_dir(programs::CONFORMANCE.source())
        .output()
        .context("cannot start go")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || text.is_empty() {
        bail!(
            "go knows no module {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn cpus_are_read() {
        assert_eq!(milli("2"), Some(2000));
        assert_eq!(milli("1930m\n"), Some(1930));
        assert_eq!(milli("x"), None);
    }
}
