//! Why a head was refused, one name per cause with a stable text: log, metric and answer say the same, and no caller
//! has to look into strings.

use http::StatusCode;
use weft_model::target::TargetError;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The first line is not `method SP target SP HTTP/1.x`.
    #[error(
        "request line is not a method, a target and HTTP/1.0 or HTTP/1.1, each after one space"
    )]
    RequestLine,
    /// The first line of a response is not `HTTP/1.x SP status SP reason`.
    #[error("status line is not HTTP/1.0 or HTTP/1.1, three digits and a reason")]
    StatusLine,
    /// A version that is well formed, but is not HTTP/1.0 or HTTP/1.1.
    #[error("HTTP version is neither 1.0 nor 1.1")]
    Version,
    /// A bare CR or LF, a folded line, or empty lines before the head.
    #[error("a line does not end with CRLF, is folded, or stands empty before the head")]
    LineEnd,
    /// A header name is empty, holds a byte that is not a token's, or space stands before its colon.
    #[error("a header name is empty or holds a byte that names may not have")]
    HeaderName,
    /// A control byte in a header value.
    #[error("a header value holds a control byte")]
    HeaderValue,
    /// Head above [`Limits::head`](crate::Limits::head).
    #[error("head is too large")]
    HeadTooLarge,
    /// More lines than [`Limits::headers`](crate::Limits::headers).
    #[error("head has too many header lines")]
    TooManyHeaders,
    /// A name above [`Limits::header_name`](crate::Limits::header_name).
    #[error("a header name is too long")]
    NameTooLong,
    /// Target above [`Limits::target`](crate::Limits::target).
    #[error("request target is too long")]
    TargetTooLong,
    /// Method above [`Limits::method`](crate::Limits::method).
    #[error("method is too long to be one")]
    MethodTooLong,
    /// Target or `Host` is not what RFC 9112 section 3.2 asks for.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// HTTP/1.1 without `Host`.
    #[error("Host is missing")]
    HostMissing,
    /// More than one `Host`.
    #[error("Host is given more than once")]
    HostRepeated,
    /// `Content-Length` is not one number of 0 to 2^64 - 1 in plain digits.
    #[error("Content-Length is not a number in plain digits")]
    LengthInvalid,
    /// More than one `Content-Length`, equal or not.
    #[error("Content-Length is given more than once")]
    LengthRepeated,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthAndCoding,
    /// `Transfer-Encoding` does not end in exactly one `chunked`.
    #[error("Transfer-Encoding is not exactly 'chunked'")]
    CodingInvalid,
    /// A transfer coding before `chunked`, such as `gzip, chunked`.
    #[error("Transfer-Encoding names a coding other than 'chunked'")]
    CodingUnknown,
    /// `Transfer-Encoding` where RFC 9112 section 6.1 forbids it: HTTP/1.0, and responses 1xx and 204.
    #[error("Transfer-Encoding is not allowed in this message")]
    CodingNotAllowed,
    /// `Connection` holds something that is not a token.
    #[error("Connection is not a list of header names")]
    Connection,
    /// An expectation other than `100-continue`.
    #[error("Expect asks for something other than 100-continue")]
    Expectation,
    /// Body above [`Limits::body`](crate::Limits::body).
    #[error("body is too large")]
    BodyTooLarge,
    /// TRACE or CONNECT with a body.
    #[error("method does not take a body")]
    BodyNotAllowed,
    /// A status below 100.
    #[error("status code is below 100")]
    Status,
    /// 101 that does not name what it switches to.
    #[error("101 names no protocol in Upgrade and Connection")]
    SwitchUnnamed,
}

impl Fault {
    /// The status that a client is answered with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTooLarge | Self::TooManyHeaders | Self::NameTooLong => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::MethodTooLong | Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestLine
            | Self::StatusLine
            | Self::LineEnd
            | Self::HeaderName
            | Self::HeaderValue
            | Self::Target(_)
            | Self::HostMissing
            | Self::HostRepeated
            | Self::LengthInvalid
            | Self::LengthRepeated
            | Self::LengthAndCoding
            | Self::CodingInvalid
            | Self::CodingNotAllowed
            | Self::Connection
            | Self::BodyNotAllowed
            | Self::Status
            | Self::SwitchUnnamed => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<httparse::Error> for Fault {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::HeaderName,
            httparse::Error::HeaderValue => Self::HeaderValue,
            httparse::Error::NewLine => Self::LineEnd,
            httparse::Error::Status => Self::StatusLine,
            httparse::Error::Token => Self::RequestLine,
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::Version => Self::Version,
        }
    }
}

/// A request that is answered with `status` and nothing else; the connection closes after it, because where the next
/// request begins can no longer be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Reject {
    /// 400, 413, 414, 417, 431, 501 or 505.
    pub status: StatusCode,
    /// The cause.
    pub reason: Fault,
}

impl From<Fault> for Reject {
    fn from(reason: Fault) -> Self {
        Self {
            status: reason.status(),
            reason,
        }
    }
}

/// A response that cannot be trusted: the client gets 502, the upstream connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("response refused: {reason}")]
pub struct BadResponse {
    /// The cause.
    pub reason: Fault,
}

impl From<Fault> for BadResponse {
    fn from(reason: Fault) -> Self {
        Self { reason }
    }
}
