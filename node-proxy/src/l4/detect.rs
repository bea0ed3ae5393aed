//! What a client speaks, from the port's declaration and at most a few bytes (contracts.md §6).

use tokio::net::TcpStream;
use tokio::time::timeout;
use weft_decide::sniff::{Sniff, sniff};

use super::front::{Conn, Front};
use crate::config::{DETECT_TIMEOUT, SNIFF_TIMEOUT};
use crate::l7;
use crate::net::deadline::Deadline;
use crate::net::reader::Reader;

/// What the port's declaration lets us expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// HTTP/1; the client speaks first.
    Http,
    /// Anything.
    Anything,
    /// Bytes that are none of our business.
    Opaque,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Something else, or not looked at.
    Opaque,
    /// The client has said nothing yet: the server may begin.
    Nothing,
    /// The client has left without a word, or was silent for too long.
    Gone,
}

/// Finds out, leaving what was read in `reader`.
pub(crate) async fn detect(conn: &Conn, stream: &TcpStream, reader: &mut Reader) -> Spoken {
    if conn.front == Front::Outside {
        return Spoken::Opaque;
    }
    match super::expects(conn.protocol) {
        Expect::Opaque => Spoken::Opaque,
        Expect::Http => {
            if !l7::server::wait(conn, stream, reader, &Deadline::new()).await {
                return Spoken::Gone;
            }
            match first_bytes(conn, stream, reader).await {
                // A port that is declared HTTP answers 400 to what is not, instead of carrying it unseen.
                Spoken::Opaque | Spoken::Nothing => Spoken::Http1,
                found => found,
            }
        }
        Expect::Anything => {
            match timeout(DETECT_TIMEOUT, first_bytes(conn, stream, reader)).await {
                Ok(found) => found,
                Err(_) if reader.is_empty() => Spoken::Nothing,
                Err(_) => first_bytes(conn, stream, reader).await,
            }
        }
    }
}

/// Reads until the bytes can be told apart. A client may be silent for as long as it likes; once it has begun, it is not
/// waited for beyond `SNIFF_TIMEOUT`.
pub(crate) async fn first_bytes(conn: &Conn, stream: &TcpStream, reader: &mut Reader) -> Spoken {
    if reader.is_empty()
        && let Some(end) = more(conn, stream, reader).await
    {
        return end;
    }
    if let Some(known) = known(reader) {
        return known;
    }
    let rest = async {
        loop {
            if let Some(end) = more(conn, stream, reader).await {
                return end;
            }
            if let Some(known) = known(reader) {
                return known;
            }
        }
    };
    timeout(SNIFF_TIMEOUT, rest).await.unwrap_or(Spoken::Opaque)
}

/// What the bytes that are here begin; none while they are too few.
fn known(reader: &Reader) -> Option<Spoken> {
    match sniff(reader.available()) {
        Sniff::Http1 => Some(Spoken::Http1),
        Sniff::Http2 => Some(Spoken::Http2),
        Sniff::Opaque => Some(Spoken::Opaque),
        Sniff::NeedMore => None,
    }
}

/// Waits for more bytes; tells when there will be none.
async fn more(conn: &Conn, stream: &TcpStream, reader: &mut Reader) -> Option<Spoken> {
    match reader.fill(stream, &conn.worker.buffers).await {
        // The client has ended its half before it said anything we know; the server may still have something to say.
        Ok(0) => Some(Spoken::Opaque),
        Ok(_) => None,
        Err(_) => Some(Spoken::Gone),
    }
}
