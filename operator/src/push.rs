//! Bringing nodes from what they hold to what they should hold: a pure session per connection, and the gRPC around it.

pub mod listen;
pub mod memory;
pub mod server;
pub mod session;
