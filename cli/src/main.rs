//! The command line: analyze, demo and what a person asks of the mesh.

fn main() {}
