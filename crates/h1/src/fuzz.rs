//! Bodies of the fuzz targets, beside the code they exercise so that they cannot rot. Each returns which law an input
//! broke; the targets under `fuzz/` and the replay test turn that into a failure.

use http::{HeaderMap, Method, Version};
use weft_model::target::RequestTarget;

use crate::{
    BodyDecoder, BodyError, CHUNK_END, Connection, Decoded, Framing, HeadScanner, Limits,
    RequestHead, parse_request, parse_response, write_chunk_size, write_last_chunk,
    write_request_head, write_response_head,
};

/// What a whole body came to.
#[derive(Debug, PartialEq)]
pub struct Body {
    /// The data.
    pub data: Vec<u8>,
    /// The trailers.
    pub trailers: Option<Box<HeaderMap>>,
    /// Bytes of input it took.
    pub consumed: usize,
}

/// Decodes `input` as it would arrive: up to each of `cuts` first, then all. `Ok(None)` if the body is not complete.
///
/// # Errors
/// [`BodyError`] of the decoder.
pub fn decode_in_pieces(
    framing: Framing,
    input: &[u8],
    cuts: &[usize],
    limits: &Limits,
) -> Result<Option<Body>, BodyError> {
    let mut decoder = BodyDecoder::new(framing, limits);
    let mut data = Vec::new();
    let mut at = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        loop {
            let window = input.get(at..cut).unwrap_or_default();
            match decoder.decode(window)? {
                Decoded::Data { skip, len } => {
                    data.extend_from_slice(window.get(skip..skip + len).unwrap_or_default());
                    at += skip + len;
                }
                Decoded::NeedMore { consumed } => {
                    at += consumed;
                    break;
                }
                Decoded::End { consumed, trailers } => {
                    return Ok(Some(Body {
                        data,
                        trailers,
                        consumed: at + consumed,
                    }));
                }
            }
        }
    }
    Ok(None)
}

/// Requests: reading a prefix never contradicts reading the whole; what is accepted survives writing and reading again;
/// its body does not depend on how it was cut.
///
/// # Errors
/// The law that `input` broke.
pub fn request(input: &[u8]) -> Result<(), String> {
    let limits = Limits::default();
    let whole = parse_request(input, &limits);
    for cut in cuts(input) {
        let mut scanner = HeadScanner::default();
        let prefix = input.get(..cut).unwrap_or_default();
        let part = parse_request(prefix, &limits);
        if part != Ok(None) && part != whole {
            return Err(format!("cut at {cut}: {part:?}, whole: {whole:?}"));
        }
        let complete = matches!(part, Ok(Some(_)));
        if complete && !scanner.ready(prefix, limits.head) {
            return Err(format!("scanner missed a head that is complete at {cut}"));
        }
    }
    let Ok(Some((head, consumed))) = whole else {
        return Ok(());
    };
    if consumed > input.len() || head.framing == Framing::UntilClose {
        return Err(format!("impossible head {head:?} of {consumed} bytes"));
    }
    again(&head, &limits)?;
    body(head.framing, input.get(consumed..).unwrap_or_default())
}

/// Writes `head` and reads it back.
fn again(head: &RequestHead, limits: &Limits) -> Result<(), String> {
    if head.target.authority().is_empty() {
        // HTTP/1.0 may name no host; written as 1.1 that is for the caller to fill in.
        return Ok(());
    }
    let mut bytes = Vec::new();
    write_request_head(
        &mut bytes,
        &head.method,
        &head.target,
        &head.headers,
        head.framing,
        head.upgrade.as_ref(),
    );
    let Ok(Some((back, consumed))) = parse_request(
        &bytes,
        &Limits {
            head: usize::MAX,
            ..*limits
        },
    ) else {
        return Err(format!("written head is refused: {}", bytes.escape_ascii()));
    };
    let same = (
        &back.method,
        &back.target,
        &back.headers,
        back.framing,
        &back.upgrade,
    ) == (
        &head.method,
        &head.target,
        &head.headers,
        head.framing,
        &head.upgrade,
    );
    if same && consumed == bytes.len() && back.keep_alive {
        Ok(())
    } else {
        Err(format!("{head:?} came back as {back:?}"))
    }
}

/// Responses, as answers to GET, HEAD and CONNECT: as [`request`].
///
/// # Errors
/// The law that `input` broke.
pub fn response(input: &[u8]) -> Result<(), String> {
    let limits = Limits::default();
    for method in [Method::GET, Method::HEAD, Method::CONNECT] {
        let whole = parse_response(input, &method, &limits);
        for cut in cuts(input) {
            let part = parse_response(input.get(..cut).unwrap_or_default(), &method, &limits);
            if part != Ok(None) && part != whole {
                return Err(format!("cut at {cut}: {part:?}, whole: {whole:?}"));
            }
        }
        let Ok(Some((head, consumed))) = whole else {
            continue;
        };
        let connection = match &head.upgrade {
            Some(protocol) => Connection::Upgrade(protocol),
            None => Connection::KeepAlive,
        };
        let mut bytes = Vec::new();
        let framing = write_response_head(
            &mut bytes,
            Version::HTTP_11,
            head.status,
            &head.headers,
            head.head_framing(),
            connection,
        );
        let Ok(Some((back, len))) = parse_response(
            &bytes,
            &method,
            &Limits {
                head: usize::MAX,
                ..limits
            },
        ) else {
            return Err(format!("written head is refused: {}", bytes.escape_ascii()));
        };
        let same = (
            back.status,
            &back.headers,
            back.framing,
            back.content_length,
            &back.upgrade,
        ) == (
            head.status,
            &head.headers,
            head.framing,
            head.content_length,
            &head.upgrade,
        );
        if !same || len != bytes.len() || framing != head.head_framing() {
            return Err(format!("{head:?} came back as {back:?}"));
        }
        body(head.framing, input.get(consumed..).unwrap_or_default())?;
    }
    Ok(())
}

/// Chunked bodies alone.
///
/// # Errors
/// The law that `input` broke.
pub fn chunked(input: &[u8]) -> Result<(), String> {
    body(Framing::Chunked, input)
}

/// However `input` is cut, the body is the same; and written anew it reads the same.
fn body(framing: Framing, input: &[u8]) -> Result<(), String> {
    let limits = Limits::default();
    let whole = decode_in_pieces(framing, input, &[], &limits);
    for cut in cuts(input) {
        let cut = decode_in_pieces(framing, input, &[cut / 2, cut], &limits);
        if cut != whole {
            return Err(format!("cut: {cut:?}, whole: {whole:?}"));
        }
    }
    let Ok(Some(whole)) = whole else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    for part in whole.data.chunks(7) {
        let Some(len) = std::num::NonZeroUsize::new(part.len()) else {
            continue;
        };
        write_chunk_size(&mut bytes, len);
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(CHUNK_END);
    }
    write_last_chunk(&mut bytes, whole.trailers.as_deref());
    match decode_in_pieces(Framing::Chunked, &bytes, &[], &limits) {
        Ok(Some(back)) if back.data == whole.data && back.trailers == whole.trailers => Ok(()),
        other => Err(format!("{whole:?} came back as {other:?}")),
    }
}

/// Request targets: whatever is accepted is canonical, visible ASCII, and free of dot segments.
///
/// # Errors
/// The law that `input` broke.
pub fn target(input: &[u8]) -> Result<(), String> {
    let (host, raw) = input.split_at(input.iter().position(|&b| b == b'\n').unwrap_or(0));
    for method in [Method::GET, Method::OPTIONS, Method::CONNECT] {
        let Ok(target) = RequestTarget::parse(&method, raw, Some(host)) else {
            continue;
        };
        let visible = |text: &str| text.bytes().all(|b| (0x21..0x7f).contains(&b));
        let dots = target
            .path()
            .split('/')
            .any(|segment| matches!(segment, "." | ".."));
        let raw = if target.is_authority_form() {
            target.authority()
        } else {
            target.path_and_query()
        };
        let back =
            RequestTarget::parse(&method, raw.as_bytes(), Some(target.authority().as_bytes()));
        if dots || !visible(target.authority()) || !visible(raw) || back.as_ref() != Ok(&target) {
            return Err(format!("{target:?} came back as {back:?}"));
        }
    }
    Ok(())
}

/// Some places to cut, which depend on the input: a fuzzer finds the rest, and the tests cut some inputs everywhere.
fn cuts(input: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let seed = input.iter().fold(input.len(), |sum, &b| {
        sum.wrapping_mul(31).wrapping_add(b.into())
    });
    [seed, seed / 7, seed / 49]
        .into_iter()
        .filter_map(move |place| place.checked_rem(input.len()))
}
