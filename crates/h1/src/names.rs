//! What each header name means to a proxy: which belong to the connection, which frame the message, which nobody but the
//! mesh may send, and which a client can never have removed. One table, read by requests, responses, trailers and the
//! encoder, so that no path has a rule of its own.

use http::HeaderName;

/// How the codec treats a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Passed on.
    EndToEnd,
    /// `Host`: part of the target.
    Host,
    /// `Content-Length`: part of the framing.
    ContentLength,
    /// `Transfer-Encoding`: part of the framing.
    TransferEncoding,
    /// `Connection`: options and nominated names.
    Connection,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `TE`.
    Te,
    /// Belongs to one connection and says nothing that we use.
    HopByHop,
    /// Only the mesh itself may send it.
    Reserved,
}

/// Prefix of the mesh's own headers.
const OWN_PREFIX: &[u8] = b"x-weft-";

/// The role of a name in any letter case, for what is written; reserved names are the mesh's own there.
pub(crate) fn role(name: &[u8]) -> Role {
    let (known, role): (&[u8], Role) = match name.len() {
        2 => (b"te", Role::Te),
        4 => (b"host", Role::Host),
        6 => (b"expect", Role::Expect),
        7 => (b"upgrade", Role::Upgrade),
        10 if name.eq_ignore_ascii_case(b"keep-alive") => return Role::HopByHop,
        10 => (b"connection", Role::Connection),
        14 if name.eq_ignore_ascii_case(b"http2-settings") => return Role::HopByHop,
        14 => (b"content-length", Role::ContentLength),
        16 => (b"proxy-connection", Role::HopByHop),
        17 => (b"transfer-encoding", Role::TransferEncoding),
        _ => return Role::EndToEnd,
    };
    if name.eq_ignore_ascii_case(known) {
        role
    } else {
        Role::EndToEnd
    }
}

/// The role of a name in any letter case, for what is received.
pub(crate) fn received_role(name: &[u8]) -> Role {
    match role(name) {
        Role::EndToEnd if is_reserved(name) => Role::Reserved,
        role => role,
    }
}

/// Whether only the mesh may send this name: `x-weft-*`, and every name that CGI-like servers would read as a framing,
/// identity or forwarding header because they fold `_` to `-` (V27). Such headers are dropped from what comes in.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    let own = matches!(name.first(), Some(b'x' | b'X'))
        && name
            .get(..OWN_PREFIX.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(OWN_PREFIX));
    if own {
        return true;
    }
    // No early exit: names are short, and so the loop is a few vector instructions.
    if !name.iter().fold(false, |found, &b| found | (b == b'_')) {
        return false;
    }
    let folded: Vec<u8> = name
        .iter()
        .map(|&b| {
            if b == b'_' {
                b'-'
            } else {
                b.to_ascii_lowercase()
            }
        })
        .collect();
    role(&folded) != Role::EndToEnd || is_protected(&folded)
}

/// Whether `Connection` may not nominate this name away (V26, CVE-2024-45410): framing, routing, identity, forwarding
/// and tracing are between the ends, whatever a client writes into `Connection`. `name` in lower case.
#[must_use]
pub fn is_protected(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 6] = [
        OWN_PREFIX,
        b"x-forwarded-",
        b"x-envoy-",
        b"x-b3-",
        b"x-istio-",
        b"l5d-",
    ];
    const NAMES: [&[u8]; 21] = [
        b"authorization",
        b"b3",
        b"baggage",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"grpc-timeout",
        b"host",
        b"origin",
        b"proxy-authorization",
        b"set-cookie",
        b"traceparent",
        b"tracestate",
        b"trailer",
        b"transfer-encoding",
        b"via",
        b"x-real-ip",
        b"x-request-id",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a trailer of this name is dropped (RFC 9110 section 6.5.1, V20): a receiver that merges trailers into headers
/// must not be talked into other framing, routing, identity, caching or content.
#[must_use]
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    const NAMES: [&str; 31] = [
        "accept",
        "accept-encoding",
        "age",
        "allow",
        "cache-control",
        "content-disposition",
        "content-language",
        "content-location",
        "content-range",
        "date",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authentication-info",
        "range",
        "referer",
        "retry-after",
        "server",
        "strict-transport-security",
        "user-agent",
        "vary",
        "warning",
        "www-authenticate",
    ];
    let bytes = name.as_str().as_bytes();
    received_role(bytes) != Role::EndToEnd || is_protected(bytes) || NAMES.contains(&name.as_str())
}
