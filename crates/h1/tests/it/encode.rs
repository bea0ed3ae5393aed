//! What is written: heads for each kind of peer, and nothing that a header map could smuggle in.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use weft_h1::{
    Connection, Framing, Limits, parse_request, write_chunk_size, write_last_chunk,
    write_request_head, write_response_head,
};

fn response(
    version: Version,
    status: u16,
    framing: Framing,
    connection: Connection<'_>,
) -> (String, Framing) {
    let mut out = Vec::new();
    let status = StatusCode::from_u16(status).unwrap();
    let written = write_response_head(
        &mut out,
        version,
        status,
        &HeaderMap::new(),
        framing,
        connection,
    );
    (String::from_utf8(out).unwrap(), written)
}

#[test]
fn responses_for_each_client() {
    let (new, old) = (Version::HTTP_11, Version::HTTP_10);
    let (keep, close) = (Connection::KeepAlive, Connection::Close);
    let websocket = HeaderValue::from_static("websocket");
    let switch = Connection::Upgrade(&websocket);
    for (version, status, framing, connection, lines, written) in [
        (
            new,
            200,
            Framing::Length(0),
            keep,
            "content-length: 0\r\n",
            Framing::Length(0),
        ),
        (
            new,
            200,
            Framing::Length(9),
            close,
            "content-length: 9\r\nconnection: close\r\n",
            Framing::Length(9),
        ),
        (
            new,
            200,
            Framing::Chunked,
            keep,
            "transfer-encoding: chunked\r\n",
            Framing::Chunked,
        ),
        (
            new,
            200,
            Framing::UntilClose,
            keep,
            "connection: close\r\n",
            Framing::UntilClose,
        ),
        (
            old,
            200,
            Framing::Length(9),
            keep,
            "content-length: 9\r\nconnection: keep-alive\r\n",
            Framing::Length(9),
        ),
        (
            old,
            200,
            Framing::Chunked,
            keep,
            "connection: close\r\n",
            Framing::UntilClose,
        ),
        (new, 204, Framing::Length(0), keep, "", Framing::None),
        (new, 103, Framing::Chunked, keep, "", Framing::None),
        (
            new,
            101,
            Framing::None,
            switch,
            "connection: upgrade\r\nupgrade: websocket\r\n",
            Framing::None,
        ),
    ] {
        let (text, got) = response(version, status, framing, connection);
        let (line, rest) = text.split_once("\r\n").unwrap();
        assert_eq!(
            (rest, got),
            (&*format!("{lines}\r\n"), written),
            "{status} {framing:?}"
        );
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{line}");
    }
    assert!(
        response(new, 799, Framing::Length(0), keep)
            .0
            .starts_with("HTTP/1.1 799 \r\n")
    );
}

#[test]
fn framing_and_connection_headers_of_the_map_are_not_written() {
    let mut headers = HeaderMap::new();
    for name in [
        "content-length",
        "transfer-encoding",
        "connection",
        "host",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "te",
        "http2-settings",
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("7"));
    }
    headers.insert("x-weft-reason", HeaderValue::from_static("mine"));
    headers.insert("expect", HeaderValue::from_static("100-continue"));
    let raw = b"PUT http://a:8080/x HTTP/1.1\r\nHost: a:8080\r\n\r\n";
    let target = parse_request(raw, &Limits::default())
        .unwrap()
        .unwrap()
        .0
        .target;
    let mut out = Vec::new();
    write_request_head(
        &mut out,
        &Method::PUT,
        &target,
        &headers,
        Framing::UntilClose,
        None,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "PUT /x HTTP/1.1\r\nhost: a:8080\r\nx-weft-reason: mine\r\nexpect: 100-continue\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
}

#[test]
fn connect_names_its_authority_twice() {
    let raw = b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = parse_request(raw, &Limits::default()).unwrap().unwrap().0;
    let mut out = Vec::new();
    write_request_head(
        &mut out,
        &head.method,
        &head.target,
        &head.headers,
        head.framing,
        None,
    );
    assert_eq!(out, b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n");
}

#[test]
fn chunk_sizes_are_lower_case_hexadecimal() {
    for len in [1, 9, 10, 15, 16, 255, 256, 4095, 65_536, usize::MAX] {
        let mut out = Vec::new();
        write_chunk_size(&mut out, std::num::NonZeroUsize::new(len).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{len:x}\r\n"));
    }
}

#[test]
fn forbidden_trailers_are_not_written() {
    let mut trailers = HeaderMap::new();
    trailers.insert("content-length", HeaderValue::from_static("7"));
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut out = Vec::new();
    write_last_chunk(&mut out, Some(&trailers));
    assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
    let mut out = Vec::new();
    write_last_chunk(&mut out, None);
    assert_eq!(out, b"0\r\n\r\n");
}
