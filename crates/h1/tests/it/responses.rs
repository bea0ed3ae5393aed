//! Row V21 of the attack history and the framing rules of RFC 9112 section 6.3: what an upstream may answer with.

use http::{Method, StatusCode};
use weft_h1::{Fault, Framing, Limits, ResponseHead, parse_response};

fn answer(method: &Method, text: &str) -> Result<ResponseHead, Fault> {
    let bytes = format!("{text}\r\n\r\n");
    match parse_response(bytes.as_bytes(), method, &Limits::default()) {
        Ok(Some((head, len))) => {
            assert_eq!(len, bytes.len());
            Ok(head)
        }
        Ok(None) => panic!("unfinished: {text:?}"),
        Err(bad) => Err(bad.reason),
    }
}

#[test]
fn v21_framing_that_cannot_be_trusted_is_refused() {
    for (text, fault) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            Fault::LengthAndCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            Fault::LengthAndCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
            Fault::LengthRepeated,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
            Fault::LengthInvalid,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -5",
            Fault::LengthInvalid,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: ", Fault::LengthInvalid),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
            Fault::CodingInvalid,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            Fault::CodingUnknown,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Fault::CodingInvalid,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            Fault::CodingNotAllowed,
        ),
        (
            "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked",
            Fault::CodingNotAllowed,
        ),
        (
            "HTTP/1.1 103 Early\r\nTransfer-Encoding: chunked",
            Fault::CodingNotAllowed,
        ),
        ("HTTP/1.1 101 Switching", Fault::SwitchUnnamed),
        (
            "HTTP/1.1 101 Switching\r\nUpgrade: websocket",
            Fault::SwitchUnnamed,
        ),
        (
            "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c",
            Fault::SwitchUnnamed,
        ),
        ("HTTP/1.1 099 Low", Fault::Status),
        ("HTTP/1.1 000 Zero", Fault::Status),
        ("HTTP/1.1 20 OK", Fault::StatusLine),
        ("HTTP/1.1 2000 OK", Fault::StatusLine),
        ("HTTP/1.1 +20 OK", Fault::StatusLine),
        ("HTTP/1.1  200 OK", Fault::StatusLine),
        ("HTTP/1.1 200 O\u{1}K", Fault::StatusLine),
        ("HTTP/1.2 200 OK", Fault::StatusLine),
        ("HTTP/2.0 200 OK", Fault::StatusLine),
        ("http/1.1 200 OK", Fault::StatusLine),
        ("ICY 200 OK", Fault::StatusLine),
        ("\r\nHTTP/1.1 200 OK", Fault::LineEnd),
        ("HTTP/1.1 200 OK\nX: y", Fault::LineEnd),
        ("HTTP/1.1 200\nX: y", Fault::LineEnd),
        ("HTTP/1.1 200 OK\r\nX: y\nZ: w", Fault::LineEnd),
        ("HTTP/1.1 200 OK\r\nX : y", Fault::HeaderName),
        ("HTTP/1.1 200 OK\r\n: y", Fault::HeaderName),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b", Fault::HeaderName),
        ("HTTP/1.1 200 OK\r\nX: a\rb", Fault::HeaderValue),
        ("HTTP/1.1 200 OK\r\nX: a\u{0}b", Fault::HeaderValue),
    ] {
        assert_eq!(answer(&Method::GET, text).unwrap_err(), fault, "{text:?}");
    }
}

#[test]
fn bodies_end_as_the_rules_say() {
    let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
    let length = "Content-Length: 5";
    let chunked = "Transfer-Encoding: chunked";
    for (method, status, line, framing, written) in [
        (
            &get,
            "200 OK",
            length,
            Framing::Length(5),
            Framing::Length(5),
        ),
        (&get, "200 OK", chunked, Framing::Chunked, Framing::Chunked),
        (
            &get,
            "200",
            "X: y",
            Framing::UntilClose,
            Framing::UntilClose,
        ),
        (
            &get,
            "404 ",
            "Content-Length: 0",
            Framing::Length(0),
            Framing::Length(0),
        ),
        (&get, "204 No", length, Framing::None, Framing::None),
        (&get, "100 Continue", "X: y", Framing::None, Framing::None),
        (&get, "103 Early", length, Framing::None, Framing::None),
        (&get, "304 Not", length, Framing::None, Framing::Length(5)),
        (&get, "304 Not", chunked, Framing::None, Framing::None),
        (
            &get,
            "999 Odd",
            length,
            Framing::Length(5),
            Framing::Length(5),
        ),
        (&head, "200 OK", length, Framing::None, Framing::Length(5)),
        (&head, "200 OK", chunked, Framing::None, Framing::None),
        (&head, "200 OK", "X: y", Framing::None, Framing::None),
        (&connect, "200 OK", length, Framing::None, Framing::None),
        (&connect, "200 OK", chunked, Framing::None, Framing::None),
        (
            &connect,
            "403 No",
            length,
            Framing::Length(5),
            Framing::Length(5),
        ),
    ] {
        let head = answer(method, &format!("HTTP/1.1 {status}\r\n{line}")).unwrap();
        assert_eq!(
            (head.framing, head.head_framing()),
            (framing, written),
            "{method} {status} {line}"
        );
    }
}

#[test]
fn connections_are_used_again_only_when_both_ends_know_where_they_are() {
    for (text, keep) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nX: until close", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1", false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive",
            true,
        ),
        ("HTTP/1.1 204 No", true),
        ("HTTP/1.1 204 No\r\nContent-Length: 0", true),
        ("HTTP/1.1 204 No\r\nContent-Length: 5", false),
        ("HTTP/1.1 304 Not\r\nContent-Length: 5", true),
    ] {
        assert_eq!(
            answer(&Method::GET, text).unwrap().keep_alive,
            keep,
            "{text:?}"
        );
    }
}

#[test]
fn switches_name_their_protocol() {
    let switch = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y";
    let head = answer(&Method::GET, switch).unwrap();
    assert_eq!(
        (head.status, head.headers.len()),
        (StatusCode::SWITCHING_PROTOCOLS, 1)
    );
    assert_eq!(head.upgrade.unwrap(), "websocket");
    let required = "HTTP/1.1 426 No\r\nConnection: upgrade\r\nUpgrade: a/2\r\nContent-Length: 0";
    assert_eq!(
        answer(&Method::GET, required).unwrap().upgrade.unwrap(),
        "a/2"
    );
    // What a server merely advertises is between it and us.
    let offer =
        "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2,websocket\r\nContent-Length: 0";
    assert_eq!(answer(&Method::GET, offer).unwrap().upgrade, None);
}

#[test]
fn hop_by_hop_and_reserved_headers_stay_on_their_side() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
        X-Weft-Reason: faked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nServer: s";
    let head = answer(&Method::GET, text).unwrap();
    let cookies: Vec<_> = head
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert_eq!((head.headers.len(), cookies), (3, vec!["a", "b"]));
}
