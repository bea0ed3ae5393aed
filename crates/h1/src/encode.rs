//! Writing: heads, chunk sizes and trailers. Nothing can be injected, because every input is a type that cannot hold a
//! line end (`Method`, `HeaderName`, `HeaderValue`, `RequestTarget`), and nothing can be framed twice, because framing and
//! connection headers come from the typed arguments alone; of those in the map none is written.

use std::num::NonZeroUsize;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use weft_model::target::RequestTarget;

use crate::framing::Framing;
use crate::names::{self, Role};

/// What ends the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Bytes set aside per header line; a guess that spares the buffer its growth steps.
const LINE_ROOM: usize = 48;
/// Bytes set aside for the first line and what the encoder adds.
const HEAD_ROOM: usize = 192;

/// What a response says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'a> {
    /// Another request may follow.
    KeepAlive,
    /// This was the last.
    Close,
    /// It switches to this protocol (101), or should (426).
    Upgrade(&'a HeaderValue),
}

/// Appends a request head, always HTTP/1.1. An empty authority is written as an empty `Host`: set one before. A request
/// is never delimited by the end of the connection, so `UntilClose` is written as `Chunked`. With `upgrade` the
/// connection is asked to switch.
pub fn write_request_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: &RequestTarget,
    headers: &HeaderMap,
    framing: Framing,
    upgrade: Option<&HeaderValue>,
) {
    out.reserve(
        HEAD_ROOM
            + target.path_and_query().len()
            + target.authority().len()
            + headers.len() * LINE_ROOM,
    );
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let path = if target.is_authority_form() {
        target.authority()
    } else {
        target.path_and_query()
    };
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(target.authority().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(out, headers);
    write_framing(
        out,
        if framing == Framing::UntilClose {
            Framing::Chunked
        } else {
            framing
        },
    );
    if let Some(protocol) = upgrade {
        write_upgrade(out, protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a response head for a client of `version` and returns the framing that the body must now have: a chunked
/// body goes to an HTTP/1.0 client until close. `UntilClose` always says `close`. 1xx and 204 carry no framing; for HEAD
/// and 304 pass [`ResponseHead::head_framing`](crate::ResponseHead::head_framing) and send no body. An empty answer
/// needs `Length(0)`: `None` says nothing at all about a body.
#[must_use = "the body has to be written in the framing that the head announced"]
pub fn write_response_head(
    out: &mut Vec<u8>,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection: Connection<'_>,
) -> Framing {
    out.reserve(HEAD_ROOM + headers.len() * LINE_ROOM);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(out, headers);
    let old = version < Version::HTTP_11;
    let framing = match framing {
        _ if status.is_informational() || status == StatusCode::NO_CONTENT => Framing::None,
        Framing::Chunked if old => Framing::UntilClose,
        framing => framing,
    };
    write_framing(out, framing);
    match connection {
        Connection::Upgrade(protocol) => write_upgrade(out, protocol),
        Connection::KeepAlive if framing != Framing::UntilClose => {
            // HTTP/1.1 persists by default; an interim response says nothing about the connection.
            if old && !status.is_informational() {
                out.extend_from_slice(b"connection: keep-alive\r\n");
            }
        }
        Connection::KeepAlive | Connection::Close => {
            out.extend_from_slice(b"connection: close\r\n")
        }
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// Appends the line before the data of a chunk. The type keeps a chunk of nothing, which would end the body, from being
/// written by mistake.
pub fn write_chunk_size(out: &mut Vec<u8>, len: NonZeroUsize) {
    let len = len.get();
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        let nibble = (len >> (digit * 4)) & 0xf;
        out.push(b"0123456789abcdef".get(nibble).copied().unwrap_or(b'0'));
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body, with trailers if there are any. Trailers that a sender may not use (RFC 9110
/// section 6.5.1) are left out.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !names::is_forbidden_trailer(name) {
            write_line(out, name.as_str(), value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        match names::role(name.as_str().as_bytes()) {
            // The mesh's own headers are written by the mesh; Expect is the caller's to add for its upstream.
            Role::EndToEnd | Role::Reserved | Role::Expect => write_line(out, name.as_str(), value),
            Role::Host
            | Role::ContentLength
            | Role::TransferEncoding
            | Role::Connection
            | Role::Upgrade
            | Role::Te
            | Role::HopByHop => {}
        }
    }
}

fn write_line(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_upgrade(out: &mut Vec<u8>, protocol: &HeaderValue) {
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
    out.extend_from_slice(protocol.as_bytes());
    out.extend_from_slice(b"\r\n");
}
