//! Laws: what is written is read back the same, however it is cut, and no bytes make the codec panic.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use proptest::prelude::*;
use std::num::NonZeroUsize;
use weft_h1::fuzz::{self, decode_in_pieces};
use weft_h1::{
    CHUNK_END, Connection, Framing, Limits, parse_request, parse_response, write_chunk_size,
    write_last_chunk, write_request_head, write_response_head,
};
use weft_model::target::RequestTarget;

prop_compose! {
    fn field()(
        name in prop_oneof![
            "[a-z][a-z0-9-]{0,12}x",
            Just("accept".to_owned()), Just("cookie".to_owned()), Just("x-request-id".to_owned()),
        ],
        value in "[!-~]([ -~\\t]{0,24}[!-~])?|",
    ) -> (HeaderName, HeaderValue) {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
    }
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    proptest::collection::vec(field(), 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    })
}

fn target() -> impl Strategy<Value = RequestTarget> {
    (
        "(/[a-zA-Z0-9._~!$&'()*+,;=:@-]{1,6}){1,4}(\\?[a-z=&%/?]{0,8})?",
        "[a-z]([a-z0-9-]{0,8}[a-z0-9])?(:[1-9][0-9]{0,3})?",
    )
        .prop_filter_map("leads above the root", |(path, host)| {
            RequestTarget::parse(&Method::GET, path.as_bytes(), Some(host.as_bytes())).ok()
        })
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::None),
        Just(Framing::Chunked),
        any::<u64>().prop_map(Framing::Length)
    ]
}

proptest! {
    #[test]
    fn requests_come_back(
        (target, headers, framing) in (target(), headers(), framing()),
        method in prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::from_bytes(b"X-Y").unwrap())],
    ) {
        let mut bytes = Vec::new();
        write_request_head(&mut bytes, &method, &target, &headers, framing, None);
        let limits = Limits::default();
        let (head, len) = parse_request(&bytes, &limits).unwrap().unwrap();
        prop_assert_eq!((&head.method, &head.target, &head.headers, head.framing), (&method, &target, &headers, framing));
        prop_assert_eq!(len, bytes.len());
        for cut in 0..bytes.len() {
            prop_assert_eq!(parse_request(&bytes[..cut], &limits), Ok(None));
        }
    }

    #[test]
    fn responses_come_back(headers in headers(), framing in framing(), code in 200_u16..600) {
        let status = StatusCode::from_u16(code).unwrap();
        let framing = if framing == Framing::None { Framing::UntilClose } else { framing };
        let mut bytes = Vec::new();
        let written = write_response_head(&mut bytes, Version::HTTP_11, status, &headers, framing, Connection::KeepAlive);
        let (head, len) = parse_response(&bytes, &Method::GET, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!((head.status, &head.headers, len), (status, &headers, bytes.len()));
        if !matches!(code, 204 | 304 | 426) {
            prop_assert_eq!((head.framing, written), (framing, framing));
        }
    }

    #[test]
    fn chunked_bodies_come_back_however_they_are_cut(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        sizes in proptest::collection::vec(1_usize..40, 1..20),
        trailers in proptest::option::of(headers()),
        cuts in proptest::collection::vec(0_usize..400, 0..12),
    ) {
        let mut bytes = Vec::new();
        let mut rest = data.as_slice();
        for size in sizes.iter().cycle() {
            let (part, after) = rest.split_at(rest.len().min(*size));
            let Some(len) = NonZeroUsize::new(part.len()) else { break };
            write_chunk_size(&mut bytes, len);
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(CHUNK_END);
            rest = after;
        }
        write_last_chunk(&mut bytes, trailers.as_ref());
        let len = bytes.len();
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % len).collect();
        cuts.sort_unstable();
        let body = decode_in_pieces(Framing::Chunked, &bytes, &cuts, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!((&body.data, body.consumed), (&data, len));
        let mut sent = trailers.unwrap_or_default();
        for gone in ["accept", "cookie", "x-request-id"] {
            sent.remove(gone);
        }
        prop_assert_eq!(body.trailers.map_or_else(HeaderMap::new, |trailers| *trailers), sent);
    }

    #[test]
    fn bodies_with_a_length_end_there(data in proptest::collection::vec(any::<u8>(), 1..100), cut in 0_usize..100, more in 0_usize..9) {
        let length = data.len();
        let mut bytes = data.clone();
        bytes.resize(length + more, b'G');
        let body = decode_in_pieces(Framing::Length(length as u64), &bytes, &[cut.min(length)], &Limits::default());
        let body = body.unwrap().unwrap();
        prop_assert_eq!((body.data, body.consumed), (data, length));
    }

    #[test]
    fn any_bytes_keep_the_laws(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        for body in [fuzz::request, fuzz::response, fuzz::chunked, fuzz::target] {
            prop_assert_eq!(body(&bytes), Ok(()));
        }
    }
}
