//! One of each: what an ordinary message becomes on its way through.

use http::{Method, StatusCode, Version};
use weft_h1::{
    BodyDecoder, CHUNK_END, Connection, Decoded, Framing, Limits, parse_request, parse_response,
    write_last_chunk, write_request_head, write_response_head,
};

#[test]
fn a_request_goes_through() {
    let limits = Limits::default();
    let bytes = b"POST /a/../b?c HTTP/1.1\r\nHost: Shop.\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
        X-Custom:  v \r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\nHost: x\r\n\r\nGET";
    let (head, len) = parse_request(bytes, &limits).unwrap().unwrap();
    assert_eq!(head.framing, Framing::Chunked);
    assert!(head.keep_alive);
    let mut out = Vec::new();
    write_request_head(
        &mut out,
        &head.method,
        &head.target,
        &head.headers,
        head.framing,
        None,
    );
    let written =
        "POST /b?c HTTP/1.1\r\nhost: shop\r\nx-custom: v\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), written);

    let mut body = BodyDecoder::new(head.framing, &limits);
    let rest = &bytes[len..];
    assert_eq!(body.decode(rest), Ok(Decoded::Data { skip: 7, len: 3 }));
    let Decoded::End { consumed, trailers } = body.decode(&rest[10..]).unwrap() else {
        panic!("the body ends here")
    };
    assert_eq!(&rest[10 + consumed..], b"GET");
    let mut out = CHUNK_END.to_vec();
    write_last_chunk(&mut out, trailers.as_deref());
    assert_eq!(out, b"\r\n0\r\nx-t: 1\r\n\r\n");
}

#[test]
fn a_response_goes_through() {
    let limits = Limits::default();
    let bytes =
        b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nServer: x\r\nKeep-Alive: timeout=5\r\n\r\nok";
    let (head, len) = parse_response(bytes, &Method::GET, &limits)
        .unwrap()
        .unwrap();
    assert_eq!(
        (head.status, head.framing, head.keep_alive),
        (StatusCode::OK, Framing::Length(2), true)
    );
    assert_eq!(&bytes[len..], b"ok");
    let mut out = Vec::new();
    let framing = write_response_head(
        &mut out,
        Version::HTTP_11,
        head.status,
        &head.headers,
        head.head_framing(),
        Connection::KeepAlive,
    );
    assert_eq!(framing, Framing::Length(2));
    assert_eq!(
        out,
        b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 2\r\n\r\n"
    );
}
