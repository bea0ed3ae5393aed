//! The images that the cluster brings: the sandbox's, CoreDNS, the sample app. None has more than it uses.

use std::fs;
use std::path::Path;

use anyhow::Context;
use weft_oci::{Architecture, Content, Image};

/// The sandbox's image.
pub(crate) const PAUSE: &str = "weft.local/pause:1";
/// CoreDNS.
pub(crate) const COREDNS: &str = "weft.local/coredns:1";
/// The sample app: answers on the ports in its environment. `cargo xtask images` makes one of the same name.
pub(crate) const SAMPLE: &str = "weft.local/sample:1";
/// The same with a shell and small tools.
const SAMPLE_SHELL: &str = "weft.local/sample-shell:1";
/// A shell with small tools in one static program (Debian's busybox-static).
pub(crate) const BUSYBOX: &str = "/bin/busybox";
/// What tests call in pods. (`wget -T` of a static busybox crashes: `timeout 5 wget`.)
const TOOLS: [&str; 13] = [
    "cat", "echo", "env", "id", "ls", "nc", "nslookup", "ping", "sh", "sleep", "timeout", "touch",
    "wget",
];

/// An image of one static program, which lies in `/bin` and is its entrypoint; add files before it is archived.
///
/// # Errors
/// The program cannot be read.
pub fn program_image(name: &str, program: &Path) -> anyhow::Result<Image> {
    let file = program.file_name().unwrap_or_default().to_string_lossy();
    let path = format!("/bin/{file}");
    Ok(Image {
        name: name.to_owned(),
        architecture: Architecture::own(),
        entrypoint: vec![path.clone()],
        env: [("PATH".to_owned(), "/bin".to_owned())].into(),
        files: [(path, Content::program(read(program)?))].into(),
        ..Image::default()
    })
}

/// The sample app as [`SAMPLE_SHELL`], from its static program.
///
/// # Errors
/// A program cannot be read.
pub(crate) fn sample_shell(sample: &Path) -> anyhow::Result<Image> {
    let mut image = program_image(SAMPLE_SHELL, sample)?;
    let busybox = Content::program(read(Path::new(BUSYBOX))?);
    image.files.insert("/bin/busybox".into(), busybox);
    image
        .files
        .insert("/tmp".into(), Content::Directory(0o1777));
    for tool in TOOLS {
        let link = Content::Link("busybox".into());
        image.files.insert(format!("/bin/{tool}"), link);
    }
    Ok(image)
}

fn read(program: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(program).with_context(|| format!("cannot read {}", program.display()))
}
