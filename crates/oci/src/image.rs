//! One image, described; and archives of it for one architecture or several.

use std::collections::BTreeMap;

use serde_json::json;

use crate::config::{Architecture, config};
use crate::layer::layer;
use crate::layout::{Descriptor, Layout, MANIFEST};
use crate::{Files, ImageError};

/// What a container of the image finds and runs.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Full name with registry and tag (`weft.local/pause:1`), as a pod's `image` says it.
    pub name: String,
    /// For which machines.
    pub architecture: Architecture,
    /// Program and leading arguments.
    pub entrypoint: Vec<String>,
    /// Environment; a `PATH` is not added.
    pub env: BTreeMap<String, String>,
    /// `uid`, `uid:gid`, or empty for root.
    pub user: String,
    /// The root file system.
    pub files: Files,
}

impl Image {
    /// The image alone, as an OCI layout in a tar file.
    ///
    /// # Errors
    /// A path is not absolute or too long, or a file has entries below it.
    pub fn archive(&self) -> Result<Vec<u8>, ImageError> {
        archive(std::slice::from_ref(self))
    }

    /// Adds layer, configuration and manifest; gives the manifest's descriptor.
    fn add_to(&self, layout: &mut Layout) -> Result<Descriptor, ImageError> {
        let layer = layout.blob(
            "application/vnd.oci.image.layer.v1.tar",
            layer(&self.name, &self.files)?,
        );
        let config = layout.json(
            "application/vnd.oci.image.config.v1+json",
            &config(self, layer.digest()),
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.json(),
            "layers": [layer.json()],
        });
        Ok(layout.json(MANIFEST, &manifest))
    }
}

/// One archive of the same image for several architectures; a runtime takes the one of its machine.
///
/// # Errors
/// As [`Image::archive`]; also when the names differ or an architecture comes twice.
pub fn archive(variants: &[Image]) -> Result<Vec<u8>, ImageError> {
    let mut sorted: Vec<&Image> = variants.iter().collect();
    sorted.sort_by_key(|image| image.architecture);
    let unfit = sorted
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.name != b.name || a.architecture == b.architecture));
    let Some(first) = sorted.first().filter(|_| !unfit) else {
        let found: Vec<String> = sorted
            .iter()
            .map(|image| format!("{} ({})", image.name, image.architecture.name()))
            .collect();
        return Err(ImageError::Variants {
            found: found.join(", "),
        });
    };
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    for image in &sorted {
        let descriptor = image.add_to(&mut layout)?;
        manifests.push(descriptor.on(&image.architecture.platform()));
    }
    // All names in a layout are of fixed form: only a layer's size can be refused.
    layout
        .finish(&first.name, manifests)
        .map_err(|_| ImageError::Size {
            image: first.name.clone(),
            path: "/".into(),
        })
}
