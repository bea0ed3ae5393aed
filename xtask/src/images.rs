//! Container images without a container engine: static binaries of ours, and for the agent the programs of iptables in both
//! flavours from Debian packages. The same inputs give the same bytes; several architectures are one archive.

mod iptables;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Args;
use weft_oci::{Architecture, Content, Files, Image};

use crate::{binaries, setup, workspace::Workspace};
use iptables::Debian;

/// Where programs lie in every image.
const BIN: &str = "/usr/local/bin";
/// Nobody in particular; the chart names the same.
const NOBODY: &str = "65532:65532";

/// Images that are imported by hand come from nowhere.
const REGISTRY: &str = "weft.local";
/// The mesh's own images, tagged with its version.
const PARTS: [&str; 3] = ["agent", "proxy", "operator"];
/// The app of the sample shop changes seldom; manifests name this tag.
const SAMPLE: &str = "sample:1";

/// What the images are called, and of what they are made.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Host and path before the name.
    #[arg(long, default_value = REGISTRY)]
    registry: String,
    /// Tag; the workspace's version by default, as the chart's.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Programs that are built already: ARCHITECTURE=DIRECTORY (amd64, arm64) once for each architecture, or a directory
    /// of this machine's own. Else they are built.
    #[arg(long = "programs", value_parser = given)]
    programs: Vec<Given>,
    /// Root of a Debian system with iptables: ARCHITECTURE=DIRECTORY. This machine's is known.
    #[arg(long = "debian", value_parser = given)]
    debian: Vec<Given>,
    /// Where the archives go [default: `images` beside the programs].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A directory for an architecture.
type Given = (Architecture, PathBuf);

impl Default for Options {
    fn default() -> Self {
        Self {
            registry: REGISTRY.to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            programs: Vec::new(),
            debian: Vec::new(),
            out: None,
        }
    }
}

fn given(text: &str) -> Result<Given, String> {
    let Some((name, directory)) = text.split_once('=') else {
        return Ok((Architecture::own(), text.into()));
    };
    let architecture = Architecture::named(name)
        .ok_or_else(|| format!("`{name}` is no architecture of ours: amd64, arm64"))?;
    Ok((architecture, directory.into()))
}

/// Builds the images into `target/weft/images`, one archive (an OCI layout as a tar file) each.
///
/// # Errors
/// A build fails, or iptables is not installed and cannot be.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let workspace = Workspace::load()?;
    let sources = sources(options, &workspace)?;
    let directory = match (&options.out, options.programs.first()) {
        (Some(out), _) => out.clone(),
        (None, Some((_, programs))) => programs.join("images"),
        (None, None) => workspace.binaries().join("images"),
    };
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let names = PARTS.map(|part| format!("weft-{part}"));
    for name in names.iter().map(String::as_str).chain(["weft-sample"]) {
        let variants = sources
            .iter()
            .map(|source| source.image(name, options))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let file = directory.join(format!("{name}.tar"));
        let bytes = weft_oci::archive(&variants)?;
        fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("{}", line(&variants, bytes.len(), &file));
    }
    eprintln!(
        "made in {:.0} s; import with ctr -n k8s.io image import FILE",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn line(variants: &[Image], bytes: usize, file: &Path) -> String {
    let size = bytes as f64 / f64::from(1 << 20);
    let name = variants.first().map_or("", |image| image.name.as_str());
    let platforms: Vec<&str> = variants.iter().map(|v| v.architecture.name()).collect();
    let (platforms, file) = (platforms.join(", "), file.display());
    format!("{name} ({platforms}, {size:.1} MiB) in {file}")
}

/// Of what an architecture's images are made.
struct Source {
    architecture: Architecture,
    /// Where the release binaries are.
    programs: PathBuf,
    debian: Debian,
}

/// One source for each architecture.
fn sources(options: &Options, workspace: &Workspace) -> anyhow::Result<Vec<Source>> {
    let own = Architecture::own();
    let mut roots: BTreeMap<Architecture, PathBuf> = options.debian.iter().cloned().collect();
    roots.entry(own).or_insert_with(|| PathBuf::from("/"));
    let mut programs: BTreeMap<Architecture, PathBuf> = options.programs.iter().cloned().collect();
    if programs.is_empty() {
        setup::install_missing(&setup::BASE)?;
        programs.insert(own, binaries::build(workspace)?);
    }
    let source = |(architecture, programs): (Architecture, PathBuf)| {
        let name = architecture.name();
        let Some(root) = roots.get(&architecture) else {
            bail!("say where Debian's iptables for {name} is: --debian {name}=DIRECTORY");
        };
        Ok(Source {
            architecture,
            programs,
            debian: Debian::new(root, architecture),
        })
    };
    programs.into_iter().map(source).collect()
}

impl Source {
    fn image(&self, name: &str, options: &Options) -> anyhow::Result<Image> {
        let mut files: Files = [
            (format!("{BIN}/{name}"), self.program(name)?),
            // Names are asked of the cluster's DNS; the C library would look for this file.
            (
                "/etc/nsswitch.conf".to_owned(),
                Content::text("hosts: files dns\n"),
            ),
        ]
        .into();
        if name == "weft-agent" {
            files.insert(format!("{BIN}/weft-cni"), self.program("weft-cni")?);
            files.append(&mut self.debian.iptables()?);
        }
        let full = match name {
            "weft-sample" => format!("{}/{SAMPLE}", options.registry),
            part => format!("{}/{part}:{}", options.registry, options.tag),
        };
        // Agent and proxy enter namespaces.
        let user = match name {
            "weft-agent" | "weft-proxy" => "",
            _ => NOBODY,
        };
        Ok(Image {
            name: full,
            architecture: self.architecture,
            entrypoint: vec![format!("{BIN}/{name}")],
            env: [("PATH".to_owned(), format!("{BIN}:/usr/sbin"))].into(),
            user: user.to_owned(),
            files,
        })
    }

    fn program(&self, name: &str) -> anyhow::Result<Content> {
        let path = self.programs.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (own, wanted) = (architecture(&bytes), self.architecture);
        if own != Some(wanted) {
            bail!(
                "{} is a program for {}, not for {}",
                path.display(),
                own.map_or("another machine", Architecture::name),
                wanted.name()
            );
        }
        binaries::check_static(&path)?;
        Ok(Content::program(bytes))
    }
}

/// What an ELF file says of its machine (`e_machine`, the tenth half-word; little endian on both of ours).
fn architecture(elf: &[u8]) -> Option<Architecture> {
    match elf.get(18..20)? {
        [0x3e, 0] => Some(Architecture::Amd64),
        [0xb7, 0] => Some(Architecture::Arm64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_given_for_an_architecture() {
        let (architecture, directory) = given("arm64=/srv/arm").unwrap();
        assert_eq!(architecture, Architecture::Arm64);
        assert_eq!(directory, Path::new("/srv/arm"));
        assert_eq!(given("/srv").unwrap().0, Architecture::own());
        assert!(given("mips=/srv").unwrap_err().contains("`mips`"));
    }

    #[test]
    fn a_program_says_for_which_machine_it_is() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(architecture(&own), Some(Architecture::own()));
        assert_eq!(architecture(b"#!/bin/sh\n"), None);
    }
}
