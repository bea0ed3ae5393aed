//! What a message may cost before it is refused. Every bound of the codec is here, so that the documentation has one
//! list and no peer can make the proxy hold or scan more than it says.

/// Most header lines that a head can be given room for; [`Limits::headers`] above it counts as this.
pub const MAX_HEADERS: usize = 128;

/// Bounds on one message. The defaults suit a mesh: far above what applications send, far below what hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, first line and final empty line included; above it 431 (or 414 if the first line has not ended).
    pub head: usize,
    /// Header lines of a head, at most [`MAX_HEADERS`]; above it 431.
    pub headers: usize,
    /// Bytes of a request target; above it 414.
    pub target: usize,
    /// Bytes of a method; above it 501.
    pub method: usize,
    /// Bytes of one header or trailer name; above it 431.
    pub header_name: usize,
    /// Bytes of a body; above it 413. No bound by default: a mesh carries what the applications agreed on.
    pub body: u64,
    /// Bytes of a chunk-size line, its extensions included, its line end not; above it 400.
    pub chunk_line: usize,
    /// Bytes of chunk extensions in one message; above it 400 (CVE-2023-39326).
    pub chunk_extensions: usize,
    /// Bytes of a trailer section, line ends included; above it 431.
    pub trailers: usize,
    /// Lines of a trailer section; above it 431.
    pub trailer_fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            headers: MAX_HEADERS,
            target: 16 * 1024,
            method: 32,
            header_name: 256,
            body: u64::MAX,
            chunk_line: 256,
            chunk_extensions: 16 * 1024,
            trailers: 8 * 1024,
            trailer_fields: 64,
        }
    }
}
