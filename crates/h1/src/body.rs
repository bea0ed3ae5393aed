//! Bodies: a state machine that finds the data in a buffer and lends it in place. It copies nothing, keeps no bytes (an
//! unfinished line stays in the caller's buffer) and gives each byte exactly one meaning.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::chunk;
use crate::framing::Framing;
use crate::limits::Limits;
use crate::names;

/// Why a body was refused. The connection it came on must close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// Not 1 to 16 hexadecimal digits.
    #[error("chunk size is not a hexadecimal number of at most 16 digits")]
    ChunkSize,
    /// A chunk-size line above [`Limits::chunk_line`].
    #[error("chunk-size line is too long")]
    ChunkLine,
    /// An extension that breaks the grammar.
    #[error("chunk extension is malformed")]
    ChunkExtension,
    /// More extension bytes in the message than [`Limits::chunk_extensions`].
    #[error("chunk extensions are too long")]
    ExtensionsTooLong,
    /// A line of the framing that ends in a bare LF.
    #[error("a line of the chunked coding does not end with CRLF")]
    LineEnd,
    /// Chunk data without CRLF behind it.
    #[error("chunk data is not followed by CRLF")]
    ChunkEnd,
    /// A trailer line that is no header line.
    #[error("trailer line is malformed")]
    Trailer,
    /// A trailer section above [`Limits::trailers`] or [`Limits::trailer_fields`].
    #[error("trailer section is too large")]
    TrailersTooLarge,
    /// More data than [`Limits::body`].
    #[error("body is too large")]
    TooLarge,
    /// The connection ended first.
    #[error("connection ended before the body did")]
    Truncated,
}

impl BodyError {
    /// The status for a client whose request body it was.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TrailersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ChunkSize
            | Self::ChunkLine
            | Self::ChunkExtension
            | Self::ExtensionsTooLong
            | Self::LineEnd
            | Self::ChunkEnd
            | Self::Trailer
            | Self::Truncated => StatusCode::BAD_REQUEST,
        }
    }
}

/// What [`BodyDecoder::decode`] found at the start of the input.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    /// `skip` bytes of framing, then `len` (never 0) bytes of data. Go on after `skip + len`.
    Data {
        /// Bytes before the data.
        skip: usize,
        /// Bytes of data.
        len: usize,
    },
    /// The first `consumed` bytes are done with; keep the rest and come back with more.
    NeedMore {
        /// Bytes to drop from the front.
        consumed: usize,
    },
    /// The message ends after `consumed` bytes; what follows belongs to the next.
    End {
        /// Bytes to drop from the front.
        consumed: usize,
        /// Trailers without the forbidden ones; none if none was left.
        trailers: Option<Box<HeaderMap>>,
    },
}

/// Where in the message the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Data of a body with a length: bytes to come.
    Length(u64),
    /// Data until the connection ends.
    UntilClose,
    /// At a chunk-size line.
    Size,
    /// In a chunk: bytes to come.
    Chunk(u64),
    /// At the CRLF behind a chunk's data.
    ChunkEnd,
    /// At a trailer line or the final empty line.
    Trailers,
    /// Past the end.
    Done,
}

/// Decodes one body. The caller's buffer has to hold at least a chunk-size line or a trailer line in one piece:
/// [`Limits::trailers`] + 2 bytes are always enough.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Budget,
    trailers: Option<Box<HeaderMap>>,
}

/// What the message may still use of its [`Limits`].
#[derive(Debug)]
struct Budget {
    body: u64,
    chunk_line: usize,
    extensions: usize,
    trailers: usize,
    trailer_fields: usize,
    name: usize,
}

impl BodyDecoder {
    /// A decoder for a body that is delimited like this.
    #[must_use]
    pub const fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        let limits = Budget {
            body: limits.body,
            chunk_line: limits.chunk_line,
            extensions: limits.chunk_extensions,
            trailers: limits.trailers,
            trailer_fields: limits.trailer_fields,
            name: limits.header_name,
        };
        Self {
            state,
            limits,
            trailers: None,
        }
    }

    /// Whether the whole body was seen. With [`Framing::Length`] that is so with its last byte of data, one call before
    /// `End`.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data that come next without any framing between them: such a run can be read or spliced past this
    /// decoder if [`BodyDecoder::advance`] is told. `None`: unknown, because the connection's end is the body's.
    #[must_use]
    pub const fn run(&self) -> Option<u64> {
        match self.state {
            State::Length(left) | State::Chunk(left) => Some(left),
            State::UntilClose => None,
            State::Size | State::ChunkEnd | State::Trailers | State::Done => Some(0),
        }
    }

    /// Looks at `input`, the bytes after those that earlier calls accounted for.
    ///
    /// # Errors
    /// [`BodyError`]; the message and its connection are lost.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let step = match self.state {
                State::Done => {
                    return Ok(Decoded::End {
                        consumed: at,
                        trailers: self.trailers.take(),
                    });
                }
                State::Length(_) | State::Chunk(_) | State::UntilClose => {
                    let len = self.advance(rest.len())?;
                    return Ok(if len == 0 {
                        Decoded::NeedMore { consumed: at }
                    } else {
                        Decoded::Data { skip: at, len }
                    });
                }
                State::ChunkEnd => self.chunk_end(rest)?,
                State::Size => self.size(rest)?,
                State::Trailers => self.trailer(rest)?,
            };
            match step {
                Some(len) => at += len,
                None => return Ok(Decoded::NeedMore { consumed: at }),
            }
        }
    }

    /// Accounts for up to `available` bytes of data and says how many of them belong to the current run (0 outside one).
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] where a body without a length passes [`Limits::body`].
    pub fn advance(&mut self, available: usize) -> Result<usize, BodyError> {
        match self.state {
            State::Length(left) => {
                let (len, left) = take(left, available);
                self.state = if left == 0 {
                    State::Done
                } else {
                    State::Length(left)
                };
                Ok(len)
            }
            State::Chunk(left) => {
                let (len, left) = take(left, available);
                self.state = if left == 0 {
                    State::ChunkEnd
                } else {
                    State::Chunk(left)
                };
                Ok(len)
            }
            State::UntilClose => {
                self.limits.body = self
                    .limits
                    .body
                    .checked_sub(available as u64)
                    .ok_or(BodyError::TooLarge)?;
                Ok(available)
            }
            State::Size | State::ChunkEnd | State::Trailers | State::Done => Ok(0),
        }
    }

    /// Says whether the connection may end here.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the body is not complete.
    pub const fn eof(&self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::UntilClose => Ok(()),
            State::Length(_)
            | State::Size
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailers => Err(BodyError::Truncated),
        }
    }

    fn chunk_end(&mut self, rest: &[u8]) -> Result<Option<usize>, BodyError> {
        match rest {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(Some(2))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(BodyError::ChunkEnd),
        }
    }

    fn size(&mut self, rest: &[u8]) -> Result<Option<usize>, BodyError> {
        let Some((line, len)) = line(rest, self.limits.chunk_line, BodyError::ChunkLine)? else {
            return Ok(None);
        };
        let (size, extensions) = chunk::size_line(line)?;
        self.limits.extensions = self
            .limits
            .extensions
            .checked_sub(extensions)
            .ok_or(BodyError::ExtensionsTooLong)?;
        self.limits.body = self
            .limits
            .body
            .checked_sub(size)
            .ok_or(BodyError::TooLarge)?;
        self.state = if size == 0 {
            State::Trailers
        } else {
            State::Chunk(size)
        };
        Ok(Some(len))
    }

    fn trailer(&mut self, rest: &[u8]) -> Result<Option<usize>, BodyError> {
        let Some((line, len)) = line(rest, self.limits.trailers, BodyError::TrailersTooLarge)?
        else {
            return Ok(None);
        };
        if line.is_empty() {
            self.state = State::Done;
            return Ok(Some(len));
        }
        self.limits.trailers = self
            .limits
            .trailers
            .checked_sub(len)
            .ok_or(BodyError::TrailersTooLarge)?;
        self.limits.trailer_fields = self
            .limits
            .trailer_fields
            .checked_sub(1)
            .ok_or(BodyError::TrailersTooLarge)?;
        let colon = memchr::memchr(b':', line).ok_or(BodyError::Trailer)?;
        let (name, value) = line.split_at(colon);
        if name.len() > self.limits.name {
            return Err(BodyError::TrailersTooLarge);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| BodyError::Trailer)?;
        let value = trim(value.get(1..).unwrap_or_default());
        let value = HeaderValue::from_bytes(value).map_err(|_| BodyError::Trailer)?;
        if !names::is_forbidden_trailer(&name) {
            self.trailers.get_or_insert_default().append(name, value);
        }
        Ok(Some(len))
    }
}

/// `min(left, available)` and what is then left.
fn take(left: u64, available: usize) -> (usize, u64) {
    match usize::try_from(left) {
        Ok(small) if small <= available => (small, 0),
        _ => (available, left - available as u64),
    }
}

/// The first line of `rest` without its CRLF, and its length with it; nothing while it is unfinished. A line of more than
/// `limit` bytes is `too_long`, finished or not.
fn line(
    rest: &[u8],
    limit: usize,
    too_long: BodyError,
) -> Result<Option<(&[u8], usize)>, BodyError> {
    let window = rest.get(..limit.saturating_add(2)).unwrap_or(rest);
    let Some(lf) = memchr::memchr(b'\n', window) else {
        // One more than the limit may be the CR.
        return if window.len() > limit.saturating_add(1) {
            Err(too_long)
        } else {
            Ok(None)
        };
    };
    let line = window
        .get(..lf)
        .and_then(|l| l.strip_suffix(b"\r"))
        .ok_or(BodyError::LineEnd)?;
    Ok(Some((line, lf + 1)))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
