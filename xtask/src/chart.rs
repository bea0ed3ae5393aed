//! The chart's derived files, made by the real helm: plain manifests for those who do not use it, and goldens of other
//! values, so that a change of a template is reviewed as a change of objects.

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
    programs::run(&mut helm.command(&["lint", "--strict", RELEASE[1]]))?;
    let chart = root.join(RELEASE[1]);
    let printed = |what: &str| operator(options.operator.as_deref(), what);
    // First, for the chart carries it.
    place(
        &chart.join("files/operator-rbac.yaml"),
        &printed("rbac")?,
        options.check,
    )?;
    let crds = printed("crds")?;
    let mut rendered = vec![
        (
            root.join("deploy/manifests/weft.yaml"),
            format!("{MADE}{NAMESPACE}{}", helm.render(None)?),
        ),
        // helm refuses to install over definitions that another owns, Istio's for instance (--skip-crds); kubectl would take
        // them over.
        (chart.join("crds/weft.yaml"), crds.clone()),
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
        let mut command = self.command(&["template"]);
        command.args(RELEASE);
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
