//! The OCI image layout (`image-layout.md`): blobs by digest, and an index that names the image.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tar::{Kind, Misfit, Tar};

/// Media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The content of `oci-layout`.
const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What points at a blob.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    pub(crate) fn json(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }

    /// As an entry of an index.
    pub(crate) fn on(&self, platform: &Value) -> Value {
        let mut entry = self.json();
        entry["platform"] = platform.clone();
        entry
    }
}

/// Blobs by hexadecimal digest: the order of the archive, and none twice.
#[derive(Default)]
pub(crate) struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    pub(crate) fn blob(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Descriptor {
        let hex = hex(&Sha256::digest(&bytes));
        let descriptor = Descriptor {
            media_type,
            digest: format!("sha256:{hex}"),
            size: bytes.len(),
        };
        self.blobs.insert(hex, bytes);
        descriptor
    }

    pub(crate) fn json(&mut self, media_type: &'static str, value: &Value) -> Descriptor {
        self.blob(media_type, value.to_string().into_bytes())
    }

    /// The archive. containerd and Docker take the name from the first annotation, others from the second.
    pub(crate) fn finish(mut self, name: &str, manifests: Vec<Value>) -> Result<Vec<u8>, Misfit> {
        let mut top = match <[Value; 1]>::try_from(manifests) {
            Ok([only]) => only,
            Err(several) => {
                let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": several});
                self.json(INDEX, &index).json()
            }
        };
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        top["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": tag,
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]});
        let index = index.to_string();
        let blobs = self
            .blobs
            .iter()
            .map(|(hex, bytes)| (format!("blobs/sha256/{hex}"), bytes.as_slice()));
        let mut tar = Tar::default();
        for directory in ["blobs", "blobs/sha256"] {
            tar.add(directory, 0o755, Kind::Directory)?;
        }
        for (path, bytes) in blobs {
            tar.add(&path, 0o644, Kind::File(bytes))?;
        }
        tar.add("index.json", 0o644, Kind::File(index.as_bytes()))?;
        tar.add("oci-layout", 0o644, Kind::File(VERSION))?;
        Ok(tar.finish())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
