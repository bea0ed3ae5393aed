//! Which protocol a connection speaks, from the client's first bytes. TLS and random bytes are known at once.
//!
//! Only what is surely HTTP is called HTTP: a text protocol that happens to begin with `GET ` (Redis inline commands) is
//! told apart by what follows the method.

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Could still become HTTP: show more bytes, from the first on.
    NeedMore,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.4).
    Http2,
    /// Anything else, carried as bytes.
    Opaque,
}

/// Bytes after which the answer is never `NeedMore`.
pub const SNIFF_BYTES: usize = 24;

/// The client's connection preface of HTTP/2.
const PREFACE: &[u8; SNIFF_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Methods that begin HTTP/1 traffic: RFC 9110, RFC 5789 and the registered WebDAV family.
/// A connection that begins with another method needs a declared protocol.
const METHODS: [&[u8]; 30] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"PURGE",
    b"MERGE",
    b"ACL",
    b"BIND",
    b"UNBIND",
    b"LINK",
    b"UNLINK",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"MKCALENDAR",
    b"CHECKOUT",
    b"QUERY",
];

/// Judges the first bytes of a connection.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Sniff {
    if let Some(answer) = preface(bytes) {
        return answer;
    }
    let word = bytes
        .iter()
        .position(|byte| !byte.is_ascii_uppercase())
        .unwrap_or(bytes.len());
    let (method, rest) = bytes.split_at(word);
    match rest.split_first() {
        None if METHODS.iter().any(|known| known.starts_with(method)) => Sniff::NeedMore,
        Some((b' ', target)) if METHODS.contains(&method) => sniff_target(method, target),
        _ => Sniff::Opaque,
    }
}

/// Whether the bytes are (the beginning of) the HTTP/2 preface; none = surely not, or too short to differ from a method.
fn preface(bytes: &[u8]) -> Option<Sniff> {
    match bytes.get(..SNIFF_BYTES) {
        Some(head) if head == PREFACE => Some(Sniff::Http2),
        Some(_) => None,
        None if PREFACE.starts_with(bytes) => Some(Sniff::NeedMore),
        None => None,
    }
}

/// The beginning of a request target in one of the forms of RFC 9112 section 3.2.
fn sniff_target(method: &[u8], target: &[u8]) -> Sniff {
    let Some(first) = target.first() else {
        return Sniff::NeedMore;
    };
    let http = match first {
        b'/' => true,
        b'*' => method == b"OPTIONS",
        b'[' => method == b"CONNECT",
        _ if method == b"CONNECT" => first.is_ascii_alphanumeric(),
        _ => return sniff_scheme(target),
    };
    if http { Sniff::Http1 } else { Sniff::Opaque }
}

fn sniff_scheme(target: &[u8]) -> Sniff {
    const SCHEME: &[u8] = b"http";
    let seen = target.len().min(SCHEME.len());
    match (target.get(..seen), SCHEME.get(..seen)) {
        (Some(head), Some(wanted)) if head.eq_ignore_ascii_case(wanted) => {
            if seen == SCHEME.len() {
                Sniff::Http1
            } else {
                Sniff::NeedMore
            }
        }
        _ => Sniff::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_beginnings() {
        for (bytes, wanted) in [
            (&b""[..], Sniff::NeedMore),
            (b"G", Sniff::NeedMore),
            (b"GET", Sniff::NeedMore),
            (b"GET ", Sniff::NeedMore),
            (b"GET /", Sniff::Http1),
            (b"GET http", Sniff::Http1),
            (b"GET HTTP://a/", Sniff::Http1),
            (b"GET ht", Sniff::NeedMore),
            (b"OPTIONS *", Sniff::Http1),
            (b"CONNECT a.b:443", Sniff::Http1),
            (b"MKCALENDAR /", Sniff::Http1),
            (b"P", Sniff::NeedMore),
            (b"PR", Sniff::NeedMore),
            (b"PRI * HTTP/2.0\r\n", Sniff::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Sniff::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Sniff::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Sniff::Opaque),
            (b"PROPFIND /", Sniff::Http1),
            (b"\x16\x03\x01\x02\x00", Sniff::Opaque),
            (b"\x16", Sniff::Opaque),
            (b"\0", Sniff::Opaque),
            (b"SSH-2.0", Sniff::Opaque),
            (b"*3\r\n$3\r\nSET", Sniff::Opaque),
            (b"GET key\r\n", Sniff::Opaque),
            (b"COPY a b", Sniff::Opaque),
            (b"get / HTTP/1.1", Sniff::Opaque),
            (b"GET\t/", Sniff::Opaque),
            (b"GETX", Sniff::Opaque),
            (b"EHLO x", Sniff::Opaque),
            (b"GET *", Sniff::Opaque),
        ] {
            assert_eq!(sniff(bytes), wanted, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..40), head in proptest::sample::select(&METHODS[..]), glue in "[ /*h]{0,3}") {
            let mut whole = head.to_vec();
            whole.extend_from_slice(glue.as_bytes());
            whole.extend_from_slice(&bytes);
            let answers: Vec<Sniff> = (0..=whole.len()).map(|end| sniff(&whole[..end])).collect();
            let decided = answers.iter().find(|answer| **answer != Sniff::NeedMore);
            for answer in answers.iter().skip_while(|answer| **answer == Sniff::NeedMore) {
                prop_assert_eq!(Some(answer), decided);
            }
            if whole.len() >= SNIFF_BYTES {
                prop_assert_ne!(sniff(&whole), Sniff::NeedMore);
            }
        }
    }
}
