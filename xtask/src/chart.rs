//! The chart's derived files, made by the real helm: plain manifests for those who do not use it, and goldens of other
//! values, so that a change of a template is reviewed as a change of objects.

mod gateway;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    programs,
    workspace::{Workspace, cargo},
};

/// Name of the release and its namespace in everything that is rendered.
const RELEASE: [&str; 4] = ["weft", "deploy/charts/weft", "--namespace", "weft-system"];
/// Who changes a template is told this.
const MADE: &str = "# Made by `cargo xtask chart` from deploy/charts/weft; do not edit.\n";
/// Why they are a file of their own.
const CRDS: &str = "# For clusters without Istio, whose own definitions must stay as they are. Made by `cargo xtask chart`.\n";
/// The template of definitions.
const ONLY_DEFINITIONS: &str = "templates/definitions.yaml";
/// What each of them says to helm.
const KEPT: &str = r#""helm.sh/resource-policy":"keep""#;
/// The chart leaves its namespace to helm; its pods need host paths and capabilities.
const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: weft-system
  labels:
    pod-security.kubernetes.io/enforce: privileged
    weft.mesh/mode: disabled
";

/// How to run it.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Compare instead of writing.
    #[arg(long)]
    check: bool,
    /// The helm to use; else that of PATH, else the one that the cluster tests build.
    #[arg(long, env = "HELM")]
    helm: Option<PathBuf>,
    /// A weft-operator that is built already; it prints permissions and resource definitions.
    #[arg(long)]
    operator: Option<PathBuf>,
}

impl Options {
    /// Compare, with what the machine has.
    pub(crate) fn check() -> Self {
        Self {
            check: true,
            helm: None,
            operator: None,
        }
    }
}

/// Renders, and writes or compares.
///
/// # Errors
/// There is no helm, it refuses the chart or accepts wrong values, or a file is not as rendered.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let root = Workspace::load()?.root;
    let helm = Helm::find(options.helm.as_deref(), &root)?;
    let [_, chart, flag, namespace] = RELEASE;
    programs::run(&mut helm.command(&["lint", "--strict", chart, flag, namespace]))?;
    let chart = root.join(chart);
    let printed = |what: &str| operator(options.operator.as_deref(), what);
    // First, for the chart carries them.
    let definitions = [printed("crds")?, gateway::standard_channel(&root)?];
    let [crds, gateway_api] = &definitions;
    for (file, text) in [
        ("operator-rbac.yaml", &printed("rbac")?),
        ("definitions.yaml", crds),
        ("gateway-api.yaml", gateway_api),
    ] {
        place(&chart.join("files").join(file), text, options.check)?;
    }
    every_definition_is_rendered(&helm, &definitions)?;
    if helm.render_in("elsewhere", None).is_ok() {
        bail!(
            "the chart may be installed elsewhere than in {namespace}, which agents and plugin do not know"
        );
    }
    let mut rendered = vec![
        (
            root.join("deploy/manifests/weft.yaml"),
            format!("{MADE}{NAMESPACE}{}", helm.render(None)?),
        ),
        (
            root.join("deploy/manifests/crds.yaml"),
            format!("{CRDS}{crds}"),
        ),
    ];
    let mut refused = 0;
    for values in cases(&root.join("deploy/charts/testdata"))? {
        let name = values.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("bad-") {
            if helm.render(Some(&values)).is_ok() {
                bail!(
                    "{}: the chart accepts these values; see values.schema.json",
                    values.display()
                );
            }
            refused += 1;
            continue;
        }
        let golden = name.replace(".values.yaml", ".yaml");
        let text = format!("{MADE}{}", helm.render(Some(&values))?);
        rendered.push((values.with_file_name(golden), text));
    }
    let count = rendered.len();
    for (path, text) in rendered {
        place(&path, &text, options.check)?;
    }
    eprintln!("chart: {count} files, {refused} wrong values refused");
    Ok(())
}

/// Where a cluster has none, the chart brings all, each with the mark that no uninstallation deletes it. They are too long
/// for goldens.
fn every_definition_is_rendered(helm: &Helm, files: &[String]) -> anyhow::Result<()> {
    const NAME: &str = "\n  name: ";
    let mut command = helm.command(&["template"]);
    command
        .args(RELEASE)
        .args(["--show-only", ONLY_DEFINITIONS]);
    let text = programs::output(&mut command)?;
    let kept = text.lines().filter(|line| line.contains(KEPT)).count();
    let documents = files.iter().flat_map(|file| file.split("\n---\n"));
    let wanted = documents.filter(|document| document.contains(NAME)).count();
    if kept != wanted {
        bail!(
            "the chart renders {kept} of {wanted} definitions with {KEPT}: see {ONLY_DEFINITIONS}"
        );
    }
    Ok(())
}

/// What the operator prints.
fn operator(given: Option<&Path>, what: &str) -> anyhow::Result<String> {
    let mut command = match given {
        Some(program) => Command::new(program),
        None => {
            let mut command = cargo();
            command.args(["run", "--quiet", "--package", "weft-operator", "--"]);
            command
        }
    };
    programs::output(command.arg(what))
}

fn place(path: &Path, text: &str, check: bool) -> anyhow::Result<()> {
    if fs::read_to_string(path).unwrap_or_default() == text {
        return Ok(());
    }
    if check {
        bail!(
            "{} is not what the chart gives: run `cargo xtask chart` and read the difference",
            path.display()
        );
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// Every `NAME.values.yaml`.
fn cases(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("no cases in {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".values.yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

struct Helm {
    program: PathBuf,
    root: PathBuf,
}

impl Helm {
    fn find(given: Option<&Path>, root: &Path) -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = || {
            std::env::split_paths(&path)
                .map(|d| d.join("helm"))
                .find(|f| f.is_file())
        };
        let program = given.map(Path::to_owned).or_else(in_path).or_else(built);
        Ok(Self {
            program: program.context(
                "no helm: give --helm FILE, or run `cargo xtask cluster up` once, which builds one",
            )?,
            root: root.to_owned(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// The objects that an installation makes, apart from resource definitions.
    fn render(&self, values: Option<&Path>) -> anyhow::Result<String> {
        self.render_in(RELEASE[3], values)
    }

    fn render_in(&self, namespace: &str, values: Option<&Path>) -> anyhow::Result<String> {
        let [name, chart, flag, _] = RELEASE;
        let mut command = self.command(&["template", name, chart, flag, namespace]);
        for api in ["istioAPI", "gatewayAPI"] {
            command.args(["--set", &format!("{api}.install=false")]);
        }
        if let Some(values) = values {
            command.arg("--values").arg(values);
        }
        programs::output(&mut command)
    }
}

/// The newest helm in the cluster tests' cache.
fn built() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let entries = fs::read_dir(home.join(".cache/weft/programs")).ok()?;
    let files = entries.flatten().map(|entry| entry.path().join("helm"));
    let age = |file: &PathBuf| fs::metadata(file).and_then(|m| m.modified()).ok();
    files.filter(|file| file.is_file()).max_by_key(age)
}
