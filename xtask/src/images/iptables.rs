//! The programs of iptables as an image needs them: the two binaries, the eight names by which the agent calls them, every
//! extension (an application's own rules may use any, and have to be read), the libraries of all of these, the loader.
//!
//! They are read from a Debian system's root directory: this machine's, or one of another architecture that packages were
//! unpacked into. Nothing of it is run, so it need not be this machine's architecture.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use weft_oci::{Architecture, Content, Files};

use crate::programs;

/// Where Debian has the binaries.
const SBIN: &str = "/usr/sbin";
/// Extensions of other families (bridges, ARP) are of no use in a pod.
const EXTENSIONS: [&str; 3] = ["libxt_", "libipt_", "libip6t_"];

/// A Debian system's files.
pub(super) struct Debian {
    /// Its root directory as we see it.
    root: PathBuf,
    /// Where its loader looks for libraries.
    libraries: [String; 2],
}

impl Debian {
    pub(super) fn new(root: &Path, architecture: Architecture) -> Self {
        let triplet = match architecture {
            Architecture::Amd64 => "x86_64-linux-gnu",
            Architecture::Arm64 => "aarch64-linux-gnu",
        };
        Self {
            root: root.to_owned(),
            libraries: [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")],
        }
    }

    /// Files of the image, with the paths that they have there.
    ///
    /// # Errors
    /// iptables is not installed as Debian does, or a library cannot be found.
    pub(super) fn iptables(&self) -> anyhow::Result<Files> {
        let mut files = Files::new();
        let mut needed = BTreeMap::new();
        for flavour in ["nft", "legacy"] {
            let multi = format!("xtables-{flavour}-multi");
            let path = format!("{SBIN}/{multi}");
            files.insert(path.clone(), self.file(&path)?);
            self.collect(vec![path], &mut needed)?;
            for family in ["iptables", "ip6tables"] {
                for action in ["save", "restore"] {
                    let name = format!("{SBIN}/{family}-{flavour}-{action}");
                    files.insert(name, Content::Link(multi.clone()));
                }
            }
        }
        let extensions = self.extensions()?;
        for path in &extensions {
            files.insert(path.clone(), self.extension(path)?);
        }
        self.collect(extensions, &mut needed)?;
        for path in needed.into_values() {
            files.insert(path.clone(), self.file(&path)?);
        }
        Ok(files)
    }

    fn outside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The extensions lie in a directory beside the library that loads them.
    fn extensions(&self) -> anyhow::Result<Vec<String>> {
        let place = |library: &&String| self.outside(library).join("xtables").is_dir();
        let directory = self.libraries.iter().rev().find(place);
        let directory = directory
            .map(|library| format!("{library}/xtables"))
            .with_context(|| self.lacks("extensions of iptables (…/xtables)"))?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.outside(&directory))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if EXTENSIONS.iter().any(|prefix| name.starts_with(prefix)) {
                found.push(format!("{directory}/{name}"));
            }
        }
        if found.is_empty() {
            bail!("{directory} holds no extensions of iptables");
        }
        found.sort();
        Ok(found)
    }

    /// What the loader would load for these programs or libraries, and the loader: name and path of each.
    fn collect(
        &self,
        mut todo: Vec<String>,
        found: &mut BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        while !todo.is_empty() {
            let wanted = self.wants(&todo)?;
            todo.clear();
            for name in wanted {
                if found.contains_key(&name) {
                    continue;
                }
                let library = self.library(&name)?;
                todo.push(library.clone());
                found.insert(name, library);
            }
        }
        Ok(())
    }

    /// A loader is named by its path, a library by its name.
    fn library(&self, name: &str) -> anyhow::Result<String> {
        let candidates = match name.starts_with('/') {
            true => vec![name.to_owned()],
            false => self
                .libraries
                .each_ref()
                .map(|d| format!("{d}/{name}"))
                .to_vec(),
        };
        let is_there = |path: &String| self.outside(path).is_file();
        let found = candidates.into_iter().find(is_there);
        found.with_context(|| self.lacks(name))
    }

    /// `NEEDED` entries of the dynamic section, and the interpreter.
    fn wants(&self, paths: &[String]) -> anyhow::Result<BTreeSet<String>> {
        let mut readelf = Command::new("readelf");
        readelf.args(["-d", "-l", "-W"]);
        readelf.args(paths.iter().map(|path| self.outside(path)));
        let text = programs::output(readelf.env("LC_ALL", "C"))?;
        let word = |line: &str| {
            let needed = line.contains("(NEEDED)").then_some("Shared library: [");
            let interpreter = "Requesting program interpreter: ";
            let before = needed.or_else(|| line.contains(interpreter).then_some(interpreter))?;
            let (_, rest) = line.split_once(before)?;
            rest.split(']').next().map(str::to_owned)
        };
        Ok(text.lines().filter_map(word).collect())
    }

    /// Of libraries the content is taken, because the file behind the link is not in the image under its own name.
    fn file(&self, path: &str) -> anyhow::Result<Content> {
        let outside = self.outside(path);
        let bytes = fs::read(&outside).with_context(|| self.lacks(path))?;
        Ok(Content::program(bytes))
    }

    /// An extension is often a link to another one beside it.
    fn extension(&self, path: &str) -> anyhow::Result<Content> {
        let target = fs::read_link(self.outside(path)).ok();
        match target.filter(|target| target.components().count() == 1) {
            Some(target) => Ok(Content::Link(target.to_string_lossy().into_owned())),
            None => self.file(path),
        }
    }

    fn lacks(&self, what: &str) -> String {
        let root = self.root.display();
        format!("{root} lacks {what}: Debian's iptables and its libraries must be installed there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_flavours_have_all_that_their_programs_load() {
        let system = Debian::new(Path::new("/"), Architecture::own());
        let files = system.iptables().unwrap();
        for flavour in ["nft", "legacy"] {
            assert!(files.contains_key(&format!("/usr/sbin/xtables-{flavour}-multi")));
            assert!(files.contains_key(&format!("/usr/sbin/ip6tables-{flavour}-restore")));
        }
        for part in [
            "libxt_CT.so",
            "libxt_multiport.so",
            "libxt_connmark.so",
            "libxtables.so.12",
            "libc.so.6",
            "/ld-linux",
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

    #[test]
    fn a_root_without_iptables_is_named() {
        let system = Debian::new(Path::new("/proc/self/fdinfo"), Architecture::Arm64);
        let error = system.iptables().unwrap_err().to_string();
        assert!(error.contains("/proc/self/fdinfo lacks"), "{error}");
        assert!(error.contains("xtables-nft-multi"), "{error}");
    }
}
