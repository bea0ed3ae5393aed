//! Whether the same commit gives the same programs: they are built from two copies of it in two places and compared byte
//! by byte. Images are made of programs and of nothing that changes, so equal programs are equal images.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    binaries, programs,
    workspace::{Workspace, cargo},
};

/// Two places whose paths differ in length and depth.
const PLACES: [&str; 2] = ["one", "another/place"];

/// What to build.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The CNI plugin only: a minute instead of two release builds.
    #[arg(long)]
    plugin: bool,
}

/// Builds twice and compares what is committed; the copies are removed when they agree.
///
/// # Errors
/// A build fails, or a program differs; its name and both paths are in the message.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let ground = workspace.target.join("reproduce");
    let mut built = Vec::new();
    for place in PLACES {
        let root = ground.join(place);
        copy(&workspace.root, &root)?;
        let copied = Workspace {
            target: root.join("target"),
            root,
            packages: Vec::new(),
        };
        built.push(binaries::build_in(&copied, options.plugin)?);
    }
    let (Some(one), Some(another)) = (built.first(), built.last()) else {
        bail!("nothing was built");
    };
    let compared = compare(one, another)?;
    eprintln!("{compared} programs are the same bytes from two places");
    fs::remove_dir_all(&ground).with_context(|| format!("cannot remove {}", ground.display()))
}

/// What HEAD says, without what git ignores.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut git = Command::new("git");
    git.args(["archive", "HEAD"]).current_dir(from);
    let mut archive = git
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start git")?;
    let stdin = archive.stdout.take().context("git has no output")?;
    programs::run(Command::new("tar").arg("-x").current_dir(to).stdin(stdin))?;
    let status = archive.wait().context("cannot wait for git")?;
    if !status.success() {
        bail!("`git archive HEAD` failed: {status}");
    }
    // Where sources lie decides nothing; what cargo may fetch does.
    programs::run(
        cargo()
            .args(["fetch", "--locked", "--quiet"])
            .current_dir(to),
    )
}

fn compare(one: &Path, another: &Path) -> anyhow::Result<usize> {
    let (mut compared, mut different) = (0, Vec::new());
    let entries = fs::read_dir(one).with_context(|| format!("no {}", one.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        let other = another.join(path.file_name().unwrap_or_default());
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        if read(&path)? != read(&other)? {
            different.push(format!("{} and {}", path.display(), other.display()));
        }
        compared += 1;
    }
    if !different.is_empty() {
        bail!("different bytes: {}", different.join(", "));
    }
    Ok(compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_different_byte_is_named() {
        let ground = std::env::temp_dir().join(format!("weft-reproduce-{}", std::process::id()));
        for (place, text) in [("a", "same"), ("b", "same")] {
            fs::create_dir_all(ground.join(place)).unwrap();
            fs::write(ground.join(place).join("program"), text).unwrap();
        }
        let (a, b) = (ground.join("a"), ground.join("b"));
        assert_eq!(compare(&a, &b).unwrap(), 1);
        fs::write(b.join("program"), "sane").unwrap();
        let error = compare(&a, &b).unwrap_err().to_string();
        assert!(error.contains("/a/program and "), "{error}");
        fs::remove_dir_all(&ground).unwrap();
    }
}
