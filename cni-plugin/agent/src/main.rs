//! The node agent: installs the plugin, enters pods, owns every listening socket.

fn main() {}
