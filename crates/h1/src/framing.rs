//! How a message's body is delimited (RFC 9112 section 6.3), from the two headers that say so. Each is read in the one
//! spelling that all readers agree on; everything else is a fault.

use crate::fault::Fault;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// There is no body.
    None,
    /// This many bytes follow.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// All until the connection ends; responses only.
    UntilClose,
}

impl Framing {
    /// Whether nothing follows the head.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// What `Transfer-Encoding` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Exactly `chunked`.
    Chunked,
    /// Another known syntax that ends in `chunked`: understood, not supported.
    Unknown,
}

/// Reads `Content-Length`: digits only, no sign, no list, no overflow (V3, V13), and no leading zero, which some servers
/// take for octal.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || (value.len() > 1 && value.first() == Some(&b'0')) {
        return Err(Fault::LengthInvalid);
    }
    value.iter().try_fold(0_u64, |sum, &b| {
        if !b.is_ascii_digit() {
            return Err(Fault::LengthInvalid);
        }
        sum.checked_mul(10)
            .and_then(|sum| sum.checked_add(u64::from(b - b'0')))
            .ok_or(Fault::LengthInvalid)
    })
}

/// Reads `Transfer-Encoding` (V2). Only a clean list with one final `chunked` is "unknown" (501); all else is a fault.
pub(crate) fn transfer_coding(value: &[u8]) -> Result<Coding, Fault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Coding::Chunked);
    }
    let mut codings = value.rsplit(|&b| b == b',').map(<[u8]>::trim_ascii);
    let last_is_chunked = codings
        .next()
        .is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
    let others_known = codings.all(|c| {
        [
            &b"gzip"[..],
            b"x-gzip",
            b"deflate",
            b"compress",
            b"x-compress",
        ]
        .iter()
        .any(|k| c.eq_ignore_ascii_case(k))
    });
    if last_is_chunked && others_known {
        Ok(Coding::Unknown)
    } else {
        Err(Fault::CodingInvalid)
    }
}
