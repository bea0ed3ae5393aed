//! Tells when an unfinished head is worth reading again, so that a peer that sends byte by byte costs linear time.

/// Remembers how far a growing buffer was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScanner {
    seen: usize,
}

impl HeadScanner {
    /// Whether `buf`, which only grows between calls, now holds an empty line (the end of a head) or has reached `limit`
    /// bytes ([`Limits::head`](crate::Limits::head)); then the head parser has an answer. Bare LFs count, so that a head
    /// that ends in them is refused at once.
    pub fn ready(&mut self, buf: &[u8], limit: usize) -> bool {
        if buf.len() >= limit {
            return true;
        }
        let from = self.seen.min(buf.len());
        let new = buf.get(from..).unwrap_or_default();
        for at in memchr::memchr_iter(b'\n', new) {
            if ends_line_before(buf.get(..from + at).unwrap_or_default()) {
                return true;
            }
        }
        self.seen = buf.len();
        false
    }
}

/// Whether the text before an LF says that its line is empty and not the first.
fn ends_line_before(text: &[u8]) -> bool {
    text.strip_suffix(b"\r").unwrap_or(text).ends_with(b"\n")
}
