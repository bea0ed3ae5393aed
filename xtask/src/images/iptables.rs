//! The programs of iptables as an image needs them: the two binaries, the eight names by which the agent calls them, every
//! extension (an application's own rules may use any, and have to be read), the libraries of all of these, the loader.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use weft_oci::{Content, Files};

use crate::programs;

/// Where Debian has the binaries.
const SBIN: &str = "/usr/sbin";
/// Extensions of other families (bridges, ARP) are of no use in a pod.
const EXTENSIONS: [&str; 3] = ["libxt_", "libipt_", "libip6t_"];

/// Files of the image, with the paths that they have here.
///
/// # Errors
/// iptables is not installed as Debian does, or a library cannot be found.
pub(super) fn files() -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut needed = BTreeSet::new();
    for flavour in ["nft", "legacy"] {
        let multi = format!("xtables-{flavour}-multi");
        let path = PathBuf::from(SBIN).join(&multi);
        files.insert(path.display().to_string(), file(&path)?);
        needed.append(&mut libraries(&path)?);
        for family in ["iptables", "ip6tables"] {
            for action in ["save", "restore"] {
                let name = format!("{SBIN}/{family}-{flavour}-{action}");
                files.insert(name, Content::Link(multi.clone()));
            }
        }
    }
    for path in extensions(&needed)? {
        needed.append(&mut libraries(&path)?);
        files.insert(path.display().to_string(), file(&path)?);
    }
    for path in needed {
        files.insert(path.display().to_string(), file(&path)?);
    }
    Ok(files)
}

/// The extensions lie in a directory beside the library that loads them.
fn extensions(libraries: &BTreeSet<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let is_loader = |path: &&PathBuf| path.to_string_lossy().contains("libxtables.so");
    let loader = libraries
        .iter()
        .find(is_loader)
        .context("iptables does not use libxtables")?;
    let real = fs::canonicalize(loader)?;
    let directory = real.parent().unwrap_or(Path::new("/")).join("xtables");
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("no extensions of iptables in {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if EXTENSIONS.iter().any(|prefix| name.starts_with(prefix)) {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("{} holds no extensions of iptables", directory.display());
    }
    found.sort();
    Ok(found)
}

/// What the loader would load for a program or library: every absolute path that `ldd` names.
fn libraries(path: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let text = programs::output(Command::new("ldd").arg(path))?;
    if text.contains("not found") {
        bail!("{} lacks a library:\n{text}", path.display());
    }
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

/// A file's content, or the link that it is when it points to a file beside it.
fn file(path: &Path) -> anyhow::Result<Content> {
    let target = fs::read_link(path).ok();
    if let Some(target) = target.filter(|t| t.components().count() == 1 && is_extension(path)) {
        return Ok(Content::Link(target.to_string_lossy().into_owned()));
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Content::program(bytes))
}

/// Of libraries the content is taken, because the file behind the link is not in the image under its own name.
fn is_extension(path: &Path) -> bool {
    path.parent()
        .is_some_and(|directory| directory.ends_with("xtables"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_flavours_have_all_that_their_programs_load() {
        let files = files().unwrap();
        for flavour in ["nft", "legacy"] {
            assert!(files.contains_key(&format!("/usr/sbin/xtables-{flavour}-multi")));
            assert!(files.contains_key(&format!("/usr/sbin/ip6tables-{flavour}-restore")));
        }
        for part in [
            "libxt_CT.so",
            "libxt_multiport.so",
            "libxt_connmark.so",
            "ld-linux",
        ] {
            assert!(files.keys().any(|path| path.contains(part)), "{part}");
        }
        // Links stay inside the image.
        for (path, content) in &files {
            if let Content::Link(target) = content {
                let beside = Path::new(path).with_file_name(target).display().to_string();
                assert!(files.contains_key(&beside), "{path} -> {target}");
            }
        }
    }
}
