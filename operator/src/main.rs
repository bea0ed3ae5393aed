//! Compiles manifests and pushes each node what its pods need.

fn main() {}
