//! Typed manifests: YAML in, objects with their positions out.
