//! What the operator is to a Kubernetes cluster beyond reading it: one of several replicas of which one leads, the writer
//! of policies' status and of events, and the judge of who may call itself which node. None of it exists with a directory of manifests.

pub mod conditions;
pub mod crds;
pub mod events;
pub mod lease;
pub mod rbac;
pub mod tokens;
pub mod writer;

/// Name under which the operator writes: field manager of server-side apply, and the prefix of its objects.
pub const MANAGER: &str = "weft-operator";
