//! Request heads: from bytes to a typed, canonical [`RequestHead`], or to the status that the client is answered with.

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderValue, Method, Version};
use weft_model::target::RequestTarget;

use crate::fault::{Fault, Reject};
use crate::fields::Fields;
use crate::framing::{Coding, Framing};
use crate::limits::{Limits, MAX_HEADERS};

/// A request as routing, policy and the encoder see it. Everything that belongs to the connection is gone from
/// `headers`: `Connection` and what it nominates, `Keep-Alive`, `Proxy-Connection`, `TE`, `Upgrade`, `HTTP2-Settings`,
/// `Expect`, the framing headers and `Host` (which lives in `target`); so are the mesh's reserved names.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHead {
    /// The method, case kept.
    pub method: Method,
    /// Authority, path and query.
    pub target: RequestTarget,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// End-to-end headers in order.
    pub headers: HeaderMap,
    /// How the body ends; never `UntilClose`.
    pub framing: Framing,
    /// Whether the client can send another request after this one.
    pub keep_alive: bool,
    /// Whether the client waits for 100 before it sends the body. False where there is no body, and for HTTP/1.0.
    pub expect_continue: bool,
    /// What the client would like to switch to; never HTTP/2, never in a request with a body (RFC 9110 section 7.8 lets
    /// a server ignore the wish).
    pub upgrade: Option<HeaderValue>,
    /// Whether the client said `TE: trailers`.
    pub te_trailers: bool,
}

/// Reads one request head from the start of `buf`. `Ok(None)`: more bytes are needed, call again with more. Otherwise
/// the head and how many bytes it took; what follows is its body.
///
/// One empty line before the head is passed over (RFC 9112 section 2.2), a second is refused. Reading again after each
/// single byte costs quadratic time: let [`HeadScanner`](crate::HeadScanner) say when a second try pays.
///
/// # Errors
/// [`Reject`]: answer with its status and close.
pub fn parse_request(buf: &[u8], limits: &Limits) -> Result<Option<(RequestHead, usize)>, Reject> {
    let skipped = match buf {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let window = buf.get(skipped..).unwrap_or_default();
    match window.first() {
        None => return Ok(None),
        // httparse would pass over any number of them.
        Some(b'\r' | b'\n') => return Err(Fault::LineEnd.into()),
        Some(_) => {}
    }
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let slots = slots
        .get_mut(..limits.headers.min(MAX_HEADERS))
        .unwrap_or_default();
    let mut raw = httparse::Request::new(&mut []);
    match raw.parse_with_uninit_headers(window, slots) {
        Ok(httparse::Status::Complete(len)) => {
            let head = window.get(..len).unwrap_or_default();
            Ok(Some((read(head, &raw, limits)?, skipped + len)))
        }
        Ok(httparse::Status::Partial) => need_more(window, limits),
        // Which fault it is shows only at the end of the line.
        Err(httparse::Error::Version) => match memchr::memchr(b'\n', window) {
            Some(end) => Err(version_fault(window.get(..end).unwrap_or_default()).into()),
            None => need_more(window, limits),
        },
        Err(error) => Err(Fault::from(error).into()),
    }
}

/// The head goes on; whether it already went on for too long.
fn need_more(window: &[u8], limits: &Limits) -> Result<Option<(RequestHead, usize)>, Reject> {
    let in_first_line = || memchr::memchr(b'\n', window).is_none();
    // Room for method, version and the spaces around the target.
    if window.len()
        > limits
            .target
            .saturating_add(limits.method)
            .saturating_add(12)
        && in_first_line()
    {
        return Err(Fault::TargetTooLong.into());
    }
    if window.len() >= limits.head {
        return Err(Fault::HeadTooLarge.into());
    }
    Ok(None)
}

/// Tells a version that exists elsewhere (505) from a line that is no request line (400). `line` without its LF.
fn version_fault(line: &[u8]) -> Fault {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|&b| b == b' ').skip(2);
    match (parts.next(), parts.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']), None) => {
            Fault::Version
        }
        _ => Fault::RequestLine,
    }
}

fn read(
    head: &[u8],
    raw: &httparse::Request<'_, '_>,
    limits: &Limits,
) -> Result<RequestHead, Fault> {
    let (Some(method), Some(path), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(Fault::RequestLine);
    };
    if method.len() > limits.method {
        return Err(Fault::MethodTooLong);
    }
    if path.len() > limits.target {
        return Err(Fault::TargetTooLong);
    }
    if head.len() > limits.head {
        return Err(Fault::HeadTooLarge);
    }
    // Method, target and version with one space between each; anything else would have failed before.
    let line = method.len() + path.len() + 10;
    if head.get(line..line + 2) != Some(b"\r\n") {
        return Err(Fault::LineEnd);
    }
    let fields = Fields::read(head, line + 2, raw.headers, limits)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Fault::RequestLine)?;
    let version = if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    if version == Version::HTTP_11 && fields.host.is_none() {
        return Err(Fault::HostMissing);
    }
    let target = RequestTarget::parse(&method, path.as_bytes(), fields.host)?;
    let framing = framing(&method, version, &fields, limits)?;
    assemble(method, target, version, framing, fields)
}

/// RFC 9112 section 6.3 for requests: never delimited by the end of the connection, never by two headers at once.
fn framing(
    method: &Method,
    version: Version,
    fields: &Fields<'_>,
    limits: &Limits,
) -> Result<Framing, Fault> {
    let framing = match (fields.coding, fields.length) {
        (Some(_), Some(_)) => return Err(Fault::LengthAndCoding),
        (Some(_), None) if version == Version::HTTP_10 => return Err(Fault::CodingNotAllowed),
        (Some(Coding::Unknown), None) => return Err(Fault::CodingUnknown),
        (Some(Coding::Chunked), None) => Framing::Chunked,
        (None, Some(length)) if length > limits.body => return Err(Fault::BodyTooLarge),
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::None,
    };
    if !framing.is_empty() && (method == Method::TRACE || method == Method::CONNECT) {
        return Err(Fault::BodyNotAllowed);
    }
    Ok(framing)
}

fn assemble(
    method: Method,
    target: RequestTarget,
    version: Version,
    framing: Framing,
    fields: Fields<'_>,
) -> Result<RequestHead, Fault> {
    let current = version == Version::HTTP_11;
    // HTTP/1.0 has no expectations (RFC 9110 section 10.1.1) and no upgrades (section 7.8).
    if current && fields.expect_other {
        return Err(Fault::Expectation);
    }
    let upgrade = if current && framing.is_empty() {
        fields.upgrade()
    } else {
        None
    };
    Ok(RequestHead {
        keep_alive: !fields.options.close && (current || fields.options.keep_alive),
        expect_continue: current && fields.expect_continue && !framing.is_empty(),
        te_trailers: fields.te_trailers,
        headers: fields.headers,
        method,
        target,
        version,
        framing,
        upgrade,
    })
}
