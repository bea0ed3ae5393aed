//! One HTTP/1 connection to an endpoint, owned by the exchange that uses it.

use tokio::net::TcpStream;

use super::pool::Key;
use crate::net::reader::Reader;
use crate::net::writer::Writer;

/// A connection to an endpoint with its two halves.
pub(crate) struct Upstream {
    /// Who may use it.
    pub(crate) key: Key,
    /// Socket.
    pub(crate) stream: TcpStream,
    /// Receiving half.
    pub(crate) reader: Reader,
    /// Sending half.
    pub(crate) writer: Writer,
    /// Whether it has carried a request before: then its failure may be a stale connection.
    pub(crate) reused: bool,
}

impl Upstream {
    /// A fresh connection.
    pub(crate) fn new(key: Key, stream: TcpStream) -> Self {
        Self {
            key,
            stream,
            reader: Reader::default(),
            writer: Writer::default(),
            reused: false,
        }
    }

    /// Whether the peer is silent and there, as an idle connection must be: closed ones and such with bytes that nobody
    /// asked for are not. Costs no system call unless an event has arrived.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0u8; 1];
        let silent = matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        silent && self.reader.is_empty() && self.writer.pending() == 0
    }
}
