//! XMesh (gateway.networking.x-k8s.io): the object in which a mesh says what it can do. Experimental, so often not there.

use serde::{Deserialize, Serialize};

use crate::meta::Metadata;

/// A mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct XMesh {
    /// Name.
    pub metadata: Metadata,
    /// Which mesh it is.
    pub spec: XMeshSpec,
}

/// Which mesh an XMesh stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct XMeshSpec {
    /// Who manages it.
    pub controller_name: String,
    /// An object with settings of the mesh's own.
    pub parameters_ref: Option<ParametersRef>,
}

/// An object with settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParametersRef {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}
