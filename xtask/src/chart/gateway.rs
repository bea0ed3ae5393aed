//! The Gateway API's standard channel as its project publishes it: the files of the Go module that the conformance suite
//! pins, one after the other, so that what is installed is what is tested.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{programs, setup};

/// The module.
const MODULE: &str = "sigs.k8s.io/gateway-api";
/// Where it is pinned.
const PINNED_BY: &str = "tests/e2e/cluster/programs/conformance";
/// The channel in it.
const CHANNEL: &str = "config/crd/standard";

/// The whole channel as one file of YAML documents.
///
/// # Errors
/// There is no Go, the module cannot be fetched, or has no such channel.
pub(crate) fn standard_channel(root: &Path) -> anyhow::Result<String> {
    let (directory, version) = module(&root.join(PINNED_BY))?;
    let directory = directory.join(CHANNEL);
    let entries =
        fs::read_dir(&directory).with_context(|| format!("{MODULE} {version} has no {CHANNEL}"))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    files.sort();
    let mut text = format!(
        "# The Gateway API's standard channel {version}, unmodified: {CHANNEL} of the Go module\n\
         # {MODULE} (https://github.com/kubernetes-sigs/gateway-api).\n\
         # Copyright The Kubernetes Authors. Licensed under the Apache License, Version 2.0.\n\
         # Put here by `cargo xtask chart`; do not edit.\n"
    );
    for file in files {
        let document =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        text.push_str("---\n");
        text.push_str(document.trim_start_matches("---\n").trim_end());
        text.push('\n');
    }
    Ok(text)
}

/// Directory and version of the module; fetched if it is not there.
fn module(pinned_by: &Path) -> anyhow::Result<(PathBuf, String)> {
    let go = setup::go()?;
    let mut command = Command::new(go);
    command
        .args(["mod", "download", "-json", MODULE])
        .current_dir(pinned_by);
    let said: Value = serde_json::from_str(&programs::output(&mut command)?)
        .context("go said something else than JSON of a module")?;
    let word = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    if word("Dir").is_empty() {
        bail!("go has not fetched {MODULE}: {}", word("Error"));
    }
    Ok((PathBuf::from(word("Dir")), word("Version").to_owned()))
}
