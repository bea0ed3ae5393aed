//! Reads a whole byte stream the way the proxy does: head, body, next head, until it ends or is refused.

use http::{HeaderMap, StatusCode};
use weft_h1::fuzz::{Body, decode_in_pieces};
use weft_h1::{Limits, RequestHead, parse_request};

/// One request that came through.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: RequestHead,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

impl Seen {
    /// Method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.head.method, self.head.target.path_and_query())
    }
}

/// How the stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After a message.
    Clean,
    /// In the middle of a head or body.
    Unfinished,
    /// A head or body was refused with this status.
    Refused(StatusCode),
    /// A request said that it was the last; what follows is not read.
    Closed,
}

/// All requests in `bytes`.
pub(crate) fn read(bytes: &[u8]) -> (Vec<Seen>, End) {
    let limits = Limits::default();
    let mut seen = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, len) = match parse_request(rest, &limits) {
            Ok(Some(found)) => found,
            Ok(None) => return (seen, End::Unfinished),
            Err(reject) => return (seen, End::Refused(reject.status)),
        };
        rest = &rest[len..];
        match decode_in_pieces(head.framing, rest, &[], &limits) {
            Ok(Some(Body {
                data,
                trailers,
                consumed,
            })) => {
                rest = &rest[consumed..];
                let last = !head.keep_alive;
                seen.push(Seen {
                    head,
                    body: data,
                    trailers,
                });
                if last {
                    return (seen, End::Closed);
                }
            }
            Ok(None) => return (seen, End::Unfinished),
            Err(error) => return (seen, End::Refused(error.status())),
        }
    }
    (seen, End::Clean)
}

/// The status that the first message is refused with, as a number; 0 if it is not.
pub(crate) fn refusal(bytes: &[u8]) -> u16 {
    match read(bytes) {
        (seen, End::Refused(status)) if seen.is_empty() => status.as_u16(),
        _ => 0,
    }
}
