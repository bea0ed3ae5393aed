//! The protocol a service port declares, and what the proxy does with it.

use serde::{Deserialize, Serialize};

/// What a port speaks. Declared by `appProtocol`, else the port's name prefix, else well-known server-first ports.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Nothing declared: wait for the first bytes (contracts.md §6).
    #[default]
    Detect,
    /// HTTP/1.x.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC: HTTP/2 with trailers that matter.
    Grpc,
    /// Bytes, the client may speak first. TLS of the application is carried as this.
    Tcp,
    /// Bytes, the server speaks first: never wait for the client.
    ServerFirst,
}

/// Ports whose protocol is known to begin with the server: SMTP, SSH, MySQL, and their usual variants.
pub const SERVER_FIRST_PORTS: [u16; 7] = [21, 22, 25, 110, 143, 587, 3306];
