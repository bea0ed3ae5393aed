//! The image's configuration: what starts, as whom, with which environment (OCI image-spec, `config.md`).

use serde_json::{Value, json};

use crate::image::Image;

/// For which machines an image is, in the words of `GOARCH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// x86-64.
    #[default]
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Architecture {
    /// `amd64` or `arm64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The architecture of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Amd64, Self::Arm64]
            .into_iter()
            .find(|architecture| architecture.name() == name)
    }

    /// The architecture that this code was compiled for.
    #[must_use]
    pub fn own() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    /// Platform object of an index (`image-index.md`).
    pub(crate) fn platform(self) -> Value {
        json!({"architecture": self.name(), "os": "linux"})
    }
}

/// `layer` is the digest of the uncompressed layer.
pub(crate) fn config(image: &Image, layer: &str) -> Value {
    let env: Vec<String> = image
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    json!({
        "architecture": image.architecture.name(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": env,
            "User": image.user,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "weft-oci"}],
    })
}
