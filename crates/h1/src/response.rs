//! Response heads: from an upstream's bytes to a typed [`ResponseHead`], or to the finding that it cannot be trusted (V21).

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use crate::fault::{BadResponse, Fault};
use crate::fields::Fields;
use crate::framing::{Coding, Framing};
use crate::limits::{Limits, MAX_HEADERS};

/// A response, interim ones (1xx) included. What belongs to the connection is gone from `headers`, as in
/// [`RequestHead`](crate::RequestHead); the reason phrase is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// End-to-end headers in order.
    pub headers: HeaderMap,
    /// How the body ends. `None` for HEAD, 1xx, 204, 304 and a successful CONNECT.
    pub framing: Framing,
    /// `Content-Length`; says more than `framing` for HEAD and 304, where it tells the size of what was not sent.
    pub content_length: Option<u64>,
    /// Whether the connection can carry another request after this exchange.
    pub keep_alive: bool,
    /// What a 101 switches to, or what a 426 demands. Whether the client asked for it is the caller's to check.
    pub upgrade: Option<HeaderValue>,
    /// `x-weft-reason`: why a proxy of the mesh answered in the application's place. It is not among `headers`. Only a
    /// captured endpoint's is true for sure, since its proxy drops what the application says there.
    pub reason: Option<HeaderValue>,
}

impl ResponseHead {
    /// The framing to write into the head towards the client: as `framing`, but HEAD and 304 keep their length.
    #[must_use]
    pub const fn head_framing(&self) -> Framing {
        match (self.framing, self.content_length) {
            (Framing::None, Some(length)) => Framing::Length(length),
            (framing, _) => framing,
        }
    }
}

/// Reads one response head from the start of `buf`, the answer to a `request_method` request. `Ok(None)`: more bytes are
/// needed. Otherwise the head and how many bytes it took.
///
/// # Errors
/// [`BadResponse`]: answer 502 and close the upstream connection.
pub fn parse_response(
    buf: &[u8],
    request_method: &Method,
    limits: &Limits,
) -> Result<Option<(ResponseHead, usize)>, BadResponse> {
    // httparse would pass over empty lines; after a body they would be bytes that nobody accounted for.
    if matches!(buf.first(), Some(b'\r' | b'\n')) {
        return Err(Fault::LineEnd.into());
    }
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let slots = slots
        .get_mut(..limits.headers.min(MAX_HEADERS))
        .unwrap_or_default();
    let mut raw = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut raw, buf, slots)
    {
        Ok(httparse::Status::Complete(len)) => {
            let head = buf.get(..len).unwrap_or_default();
            Ok(Some((read(head, &raw, request_method, limits)?, len)))
        }
        Ok(httparse::Status::Partial) if buf.len() >= limits.head => {
            Err(Fault::HeadTooLarge.into())
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::Version) => Err(Fault::StatusLine.into()),
        Err(error) => Err(Fault::from(error).into()),
    }
}

fn read(
    head: &[u8],
    raw: &httparse::Response<'_, '_>,
    request_method: &Method,
    limits: &Limits,
) -> Result<ResponseHead, Fault> {
    let (Some(minor), Some(code)) = (raw.version, raw.code) else {
        return Err(Fault::StatusLine);
    };
    if head.len() > limits.head {
        return Err(Fault::HeadTooLarge);
    }
    let line = memchr::memchr(b'\n', head).ok_or(Fault::LineEnd)?;
    if !head.get(..line).is_some_and(|l| l.ends_with(b"\r")) {
        return Err(Fault::LineEnd);
    }
    let fields = Fields::read(head, line + 1, raw.headers, limits)?;
    let status = StatusCode::from_u16(code).map_err(|_| Fault::Status)?;
    let version = if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    let framing = framing(request_method, status, version, &fields, limits)?;
    let upgrade = match status {
        StatusCode::SWITCHING_PROTOCOLS => Some(fields.upgrade().ok_or(Fault::SwitchUnnamed)?),
        StatusCode::UPGRADE_REQUIRED => fields.upgrade(),
        _ => None,
    };
    let persistent =
        !fields.options.close && (version == Version::HTTP_11 || fields.options.keep_alive);
    // A 204 that announces a body may well send it: such a connection is not used again.
    let settled = status != StatusCode::NO_CONTENT || fields.length.unwrap_or(0) == 0;
    let tunnel = request_method == Method::CONNECT && status.is_success();
    let unsized_by_rule = tunnel || status.is_informational() || status == StatusCode::NO_CONTENT;
    Ok(ResponseHead {
        reason: fields
            .reason
            .and_then(|value| HeaderValue::from_bytes(value).ok()),
        keep_alive: persistent && settled && framing != Framing::UntilClose,
        content_length: fields.length.filter(|_| !unsized_by_rule),
        headers: fields.headers,
        status,
        version,
        framing,
        upgrade,
    })
}

/// RFC 9112 section 6.3 for responses, with its "ought to be handled as an error" cases as errors.
fn framing(
    request_method: &Method,
    status: StatusCode,
    version: Version,
    fields: &Fields<'_>,
    limits: &Limits,
) -> Result<Framing, Fault> {
    if request_method == Method::CONNECT && status.is_success() {
        // Both headers must be ignored here: what follows is the tunnel.
        return Ok(Framing::None);
    }
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
    if fields.coding.is_some() {
        if fields.length.is_some() {
            return Err(Fault::LengthAndCoding);
        }
        if bodiless || version == Version::HTTP_10 {
            return Err(Fault::CodingNotAllowed);
        }
    }
    if bodiless || request_method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::None);
    }
    match (fields.coding, fields.length) {
        (Some(Coding::Unknown), _) => Err(Fault::CodingUnknown),
        (Some(Coding::Chunked), _) => Ok(Framing::Chunked),
        (None, Some(length)) if length > limits.body => Err(Fault::BodyTooLarge),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::UntilClose),
    }
}
