//! Container images without a container engine: static binaries of ours, and for the agent the programs of iptables in both
//! flavours from this machine's Debian packages. The same inputs give the same bytes.

mod iptables;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use clap::Args;
use weft_oci::{Architecture, Content, Files, Image};

use crate::{binaries, setup, workspace::Workspace};

/// Where programs lie in every image.
const BIN: &str = "/usr/local/bin";
/// Nobody in particular; the chart names the same.
const NOBODY: &str = "65532:65532";

/// Images that are imported by hand come from nowhere.
const REGISTRY: &str = "weft.local";

/// What the images are called.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Host and path before the name.
    #[arg(long, default_value = REGISTRY)]
    registry: String,
    /// Tag; the workspace's version by default, as the chart's.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registry: REGISTRY.to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Builds the images into `target/weft/images`, one archive (an OCI layout as a tar file) each.
///
/// # Errors
/// A build fails, or iptables is not installed and cannot be.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    setup::install_missing(&setup::BASE)?;
    let workspace = Workspace::load()?;
    let directory = workspace.binaries().join("images");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let programs = Programs(binaries::build(&workspace)?);
    for part in ["agent", "proxy", "operator"] {
        let image = programs.image(part, options)?;
        let file = directory.join(format!("weft-{part}.tar"));
        let bytes = image.archive()?;
        fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
        let size = bytes.len() as f64 / f64::from(1 << 20);
        eprintln!("{} ({size:.1} MiB) in {}", image.name, file.display());
    }
    eprintln!(
        "built in {:.0} s; import with ctr -n k8s.io image import FILE",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Where the release binaries are.
struct Programs(PathBuf);

impl Programs {
    fn image(&self, part: &str, options: &Options) -> anyhow::Result<Image> {
        let name = format!("weft-{part}");
        let mut files: Files = [
            (format!("{BIN}/{name}"), program(&self.0.join(&name))?),
            // Names are asked of the cluster's DNS; the C library would look for this file.
            (
                "/etc/nsswitch.conf".to_owned(),
                Content::text("hosts: files dns\n"),
            ),
        ]
        .into();
        if part == "agent" {
            files.insert(
                format!("{BIN}/weft-cni"),
                program(&self.0.join("weft-cni"))?,
            );
            files.append(&mut iptables::files()?);
        }
        let user = if part == "operator" { NOBODY } else { "" };
        Ok(Image {
            name: format!("{}/{name}:{}", options.registry, options.tag),
            architecture: Architecture::own(),
            entrypoint: vec![format!("{BIN}/{name}")],
            env: [("PATH".to_owned(), format!("{BIN}:/usr/sbin"))].into(),
            user: user.to_owned(),
            files,
        })
    }
}

fn program(path: &Path) -> anyhow::Result<Content> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Content::program(bytes))
}
