//! Rows V1 to V19 of the attack history, as far as a codec decides them: what a request head is refused for, and what it
//! turns into where it is not.

use crate::stream::{End, read, refusal};
use http::{Method, Version};
use weft_h1::{Fault, Framing, Limits, RequestHead, parse_request};
use weft_model::target::TargetError;

fn parse(bytes: &[u8]) -> Result<RequestHead, Fault> {
    match parse_request(bytes, &Limits::default()) {
        Ok(Some((head, _))) => Ok(head),
        Ok(None) => panic!("unfinished: {}", bytes.escape_ascii()),
        Err(reject) => Err(reject.reason),
    }
}

/// A POST with these header lines, given without their CRLF.
fn post(lines: &[&str]) -> Result<RequestHead, Fault> {
    let mut bytes = String::from("POST / HTTP/1.1\r\nHost: a\r\n");
    for line in lines {
        bytes.push_str(line);
        bytes.push_str("\r\n");
    }
    bytes.push_str("\r\n");
    parse(bytes.as_bytes())
}

#[test]
fn v1_length_and_coding_exclude_each_other_in_either_order() {
    let (length, coding) = ("Content-Length: 4", "Transfer-Encoding: chunked");
    assert_eq!(post(&[length, coding]).unwrap_err(), Fault::LengthAndCoding);
    assert_eq!(post(&[coding, length]).unwrap_err(), Fault::LengthAndCoding);
    assert_eq!(
        post(&["Content-Length: 0", coding]).unwrap_err(),
        Fault::LengthAndCoding
    );
    // Nominating one of them away does not help.
    let nominated = "Connection: content-length";
    assert_eq!(
        post(&[nominated, length, coding]).unwrap_err(),
        Fault::LengthAndCoding
    );
}

#[test]
fn v2_transfer_encoding_is_exactly_chunked() {
    for value in ["chunked", "Chunked", "CHUNKED", " chunked", "\tchunked \t"] {
        let head = post(&[&format!("Transfer-Encoding:{value}")]).unwrap();
        assert_eq!(head.framing, Framing::Chunked, "{value}");
        assert!(head.headers.is_empty());
    }
    for value in [
        "",
        ",",
        "identity",
        "chunked, identity",
        "identity, chunked",
        ",chunked",
        "chunked,",
        "chunked, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "chunked ;",
        "\"chunked\"",
        "chu nked",
        "blegh",
        "\u{a0}chunked",
        "gzip",
        "chunked, gzip",
        ", gzip, chunked",
        "gzip,, chunked",
        "chunked\u{85}",
        "foo, chunked",
    ] {
        let fault = post(&[&format!("Transfer-Encoding: {value}")]).unwrap_err();
        assert_eq!(fault, Fault::CodingInvalid, "{value}");
    }
    for bytes in [
        &b"chunked\x0b"[..],
        b"\x0cchunked",
        b"chunked\x00",
        b"chu\rnked",
    ] {
        let bytes = [
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ",
            bytes,
            b"\r\n\r\n",
        ]
        .concat();
        assert_eq!(refusal(&bytes), 400, "{}", bytes.escape_ascii());
    }
    let twice = ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"];
    assert_eq!(post(&twice).unwrap_err(), Fault::CodingInvalid);
    let other = ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"];
    assert_eq!(post(&other).unwrap_err(), Fault::CodingInvalid);
    for value in ["gzip, chunked", "deflate,gzip , chunked"] {
        let fault = post(&[&format!("Transfer-Encoding: {value}")]).unwrap_err();
        assert_eq!(
            (fault, fault.status().as_u16()),
            (Fault::CodingUnknown, 501)
        );
    }
}

#[test]
fn v3_v13_content_length_is_one_plain_number() {
    for (value, length) in [
        ("0", 0),
        ("5", 5),
        (" 7 ", 7),
        ("18446744073709551615", u64::MAX),
    ] {
        let head = post(&[&format!("Content-Length:{value}")]).unwrap();
        assert_eq!(head.framing, Framing::Length(length));
    }
    for value in [
        "",
        "+5",
        "-1",
        "-0",
        "0x5",
        "0o5",
        "5_0",
        "5, 5",
        "5,5",
        "5 5",
        "5;",
        "5.0",
        "1e3",
        "18446744073709551616",
        "99999999999999999999999",
        "05",
        "00",
        "010",
        "five",
        "\u{a0}5",
        "5\u{85}",
        "٥",
    ] {
        let fault = post(&[&format!("Content-Length: {value}")]).unwrap_err();
        assert_eq!(fault, Fault::LengthInvalid, "{value}");
    }
    for pair in [["5", "5"], ["5", "6"], ["0", "10"]] {
        let lines = pair.map(|v| format!("Content-Length: {v}"));
        assert_eq!(
            post(&[&lines[0], &lines[1]]).unwrap_err(),
            Fault::LengthRepeated
        );
    }
    assert_eq!(
        post(&["Content-Length: ", "Content-Length: 10"]).unwrap_err(),
        Fault::LengthInvalid
    );
}

#[test]
fn v8_an_upgrade_changes_nothing_until_it_is_answered() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n\
        GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let (seen, end) = read(bytes);
    let lines: Vec<_> = seen.iter().map(crate::stream::Seen::line).collect();
    assert_eq!(
        (lines, end),
        (
            vec!["GET /".to_owned(), "GET /admin".to_owned()],
            End::Clean
        )
    );
    assert_eq!(seen[0].head.upgrade.as_ref().unwrap(), "foo");
    assert_eq!(
        (seen[0].head.framing, &seen[1].head.upgrade),
        (Framing::None, &None)
    );
}

#[test]
fn v9_http_1_0_has_no_transfer_coding_and_no_close_delimited_request() {
    for value in ["chunked", "identity, chunked", "gzip, chunked"] {
        let bytes = format!("POST / HTTP/1.0\r\nTransfer-Encoding: {value}\r\n\r\n0\r\n\r\n");
        assert_eq!(refusal(bytes.as_bytes()) / 100, 4, "{value}");
    }
    let head = parse(b"POST / HTTP/1.0\r\n\r\nrest").unwrap();
    assert_eq!(
        (head.framing, head.keep_alive, head.version),
        (Framing::None, false, Version::HTTP_10)
    );
}

#[test]
fn v10_bytes_after_an_unframed_request_are_the_next_request() {
    let (seen, end) =
        read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /smug HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((seen.len(), end), (2, End::Clean));
    assert_eq!(seen[1].head.target.authority(), "b");
}

#[test]
fn v11_long_names_are_refused() {
    let name = format!("{}content-length", "a".repeat(256));
    assert_eq!(
        post(&[&format!("{name}: 5")]).unwrap_err(),
        Fault::NameTooLong
    );
    assert_eq!(Fault::NameTooLong.status().as_u16(), 431);
    assert!(post(&[&format!("{}: 5", "a".repeat(256))]).is_ok());
}

#[test]
fn v12_empty_names_are_refused() {
    for line in [": x", ":", " : x", "\t: x"] {
        let fault = post(&[line, "Transfer-Encoding: chunked"]).unwrap_err();
        assert_eq!(fault, Fault::HeaderName, "{line}");
    }
}

#[test]
fn v14_whitespace_stands_only_where_the_grammar_has_it() {
    for line in [
        "Host : a",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "X y: 1",
        " X: 1",
        "\tX: 1",
        "X\u{a0}: 1",
        "Content-Length\u{85}: 5",
        "X(: 1",
        "X[]: 1",
        "X/y: 1",
        "X\"y: 1",
        "no colon",
        "X\u{7f}: 1",
    ] {
        assert_eq!(post(&[line]).unwrap_err(), Fault::HeaderName, "{line}");
    }
    // Trailing OWS is part of the line, not of the value (RFC 9112 section 5.1): nobody behind us sees it.
    let head = post(&["Content-Length: 5 \t", "X: \t v \t"]).unwrap();
    assert_eq!(head.framing, Framing::Length(5));
    assert_eq!(head.headers["x"], "v");
}

#[test]
fn v15_folds_bare_line_ends_and_controls_are_refused() {
    for line in ["X: a\r\n b", "X: a\r\n\tb", "X:\r\n b", "X: a\n b"] {
        assert_eq!(
            refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n").as_bytes()),
            400,
            "{line:?}"
        );
    }
    for control in (0..0x20).chain([0x7f]).filter(|c| *c != b'\t') {
        let bytes = [
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a".as_slice(),
            &[control],
            b"b\r\n\r\n",
        ]
        .concat();
        assert_eq!(refusal(&bytes), 400, "{control}");
    }
    for bytes in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refusal(bytes.as_bytes()), 400, "{bytes:?}");
    }
    // One empty line is what a sloppy client leaves behind a body (RFC 9112 section 2.2).
    let (seen, end) = read(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((seen.len(), end), (1, End::Clean));
}

#[test]
fn v16_expectations() {
    let head = post(&["Expect: 100-Continue", "Content-Length: 3"]).unwrap();
    assert!(head.expect_continue && !head.headers.contains_key("expect"));
    assert!(
        !post(&["Expect: 100-continue"]).unwrap().expect_continue,
        "nothing to wait for"
    );
    for value in [
        "y 100-continue",
        "100-continue, y",
        "",
        "100-continue;x",
        "x=1",
        "\u{a0}100-continue",
    ] {
        let fault = post(&[&format!("Expect: {value}"), "Content-Length: 3"]).unwrap_err();
        assert_eq!(
            (fault, fault.status().as_u16()),
            (Fault::Expectation, 417),
            "{value}"
        );
    }
    let two = ["Expect: 100-continue", "Expect: y", "Content-Length: 1"];
    assert_eq!(post(&two).unwrap_err(), Fault::Expectation);
    let old =
        parse(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert!(!old.expect_continue && old.headers.is_empty());
}

#[test]
fn v18_v19_http2_upgrades_are_stripped() {
    for value in [
        "h2c",
        "H2C",
        "h2",
        "HTTP/2.0",
        "websocket, h2c",
        "h2c, websocket",
    ] {
        let head = post(&[
            "Connection: Upgrade, HTTP2-Settings",
            &format!("Upgrade: {value}"),
            "HTTP2-Settings: AAMAAABk",
        ])
        .unwrap();
        assert_eq!(head.upgrade, None, "{value}");
        assert!(head.headers.is_empty(), "{value}");
    }
}

#[test]
fn upgrades_need_all_of_their_parts() {
    let get = |lines: &str| {
        parse(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes()).unwrap()
    };
    assert_eq!(
        get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n")
            .upgrade
            .unwrap(),
        "websocket"
    );
    assert_eq!(
        get("Upgrade: a/1, b\r\nConnection: upgrade\r\n")
            .upgrade
            .unwrap(),
        "a/1, b"
    );
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n",
        "Connection: upgrade\r\nUpgrade: \r\n",
        "Connection: upgrade\r\nUpgrade: a b\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ] {
        let head = get(lines);
        assert_eq!((head.upgrade, head.headers.len()), (None, 0), "{lines}");
    }
    let old =
        parse(b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(old.upgrade, None);
}

#[test]
fn request_lines_are_method_target_and_version_with_one_space_each() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET HTTP/1.1",
        "GET /",
        "GET / ",
        "GET",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / HTTP/1.1x",
        "GET / HTTP/1.11",
        "GET / HTTP/01.1",
        "GET / HTTP/1.01",
        "GET / HTTP /1.1",
        "GET / http/1.1",
        "GET / HTTP/ 1.1",
        "GET / HTTP/1,1",
        "GET / HTTPS/1.1",
        "GET / XTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / HTTP/4294967295.255",
        "\u{0} / HTTP/1.1",
        "GET\u{0}/ HTTP/1.1",
        "/ HTTP/1.1",
        ":GET / HTTP/1.1",
    ] {
        assert_eq!(
            refusal(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()),
            400,
            "{line}"
        );
    }
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9"] {
        assert_eq!(
            refusal(format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes()),
            505,
            "{version}"
        );
    }
    assert_eq!(refusal(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    for method in ["GET", "PATCH", "get", "M-SEARCH", "X!#$%&'*+.^_`|~09"] {
        let head = parse(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(head.method.as_str(), method);
    }
}

#[test]
fn v33_one_authority_decides() {
    let get = |target: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|h| format!("Host: {h}\r\n")).collect();
        parse(format!("GET {target} HTTP/1.1\r\n{hosts}\r\n").as_bytes()).map(|h| h.target)
    };
    assert_eq!(get("/", &[]).unwrap_err(), Fault::HostMissing);
    assert_eq!(get("http://a/", &[]).unwrap_err(), Fault::HostMissing);
    assert_eq!(get("/", &["a", "a"]).unwrap_err(), Fault::HostRepeated);
    assert_eq!(get("/", &["a", "b"]).unwrap_err(), Fault::HostRepeated);
    for (target, host, error) in [
        ("http://evil/", "good", TargetError::Mismatch),
        ("http://a:81/", "a", TargetError::Mismatch),
        ("http://a/", "", TargetError::Host),
        ("http://u@a/", "a", TargetError::Userinfo),
        ("http:///", "a", TargetError::Host),
        ("https://a/", "a", TargetError::Scheme),
        ("http:a", "a", TargetError::Form),
        ("a", "a", TargetError::Form),
        ("*", "a", TargetError::Form),
        ("/", "", TargetError::Host),
        ("/", "a/b", TargetError::Host),
        ("/", "u@a", TargetError::Userinfo),
        ("/", "a@b:80", TargetError::Userinfo),
        ("/", "a b", TargetError::Host),
        ("/", "a,b", TargetError::Host),
        ("/", "a?x", TargetError::Host),
        ("/", "a#x", TargetError::Host),
        ("/", "a\\b", TargetError::Host),
        ("/", "%61", TargetError::Host),
        ("/", "\u{e9}", TargetError::Host),
        ("/", "a..b", TargetError::Host),
        ("/", ".a", TargetError::Host),
        ("/", ".", TargetError::Host),
        ("/", "a:", TargetError::Port),
        ("/", "a:x", TargetError::Port),
        ("/", "a:0", TargetError::Port),
        ("/", "a:080", TargetError::Port),
        ("/", "a:+80", TargetError::Port),
        ("/", "a:65536", TargetError::Port),
        ("/", "a:80:80", TargetError::Port),
        ("/", "a:80 ,b", TargetError::Port),
    ] {
        assert_eq!(
            get(target, &[host]).unwrap_err(),
            Fault::Target(error),
            "{target} {host}"
        );
    }
    assert!(get("/", &["a\u{0}b"]).is_err());
    let target = get("HTTP://Shop.Example.:80/x?y", &["shop.example"]).unwrap();
    assert_eq!(
        (target.authority(), target.path_and_query()),
        ("shop.example:80", "/x?y")
    );
    let target = get("http://a?x", &["a"]).unwrap();
    assert_eq!((target.path(), target.query()), ("/", Some("x")));
    assert_eq!(
        parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().target.authority(),
        ""
    );
}

#[test]
fn v34_ipv6_literals() {
    let host = |host: &str| {
        parse(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .map(|head| head.target.authority().to_owned())
    };
    for (raw, want) in [
        ("[::1]", "[::1]"),
        ("[::1]:8080", "[::1]:8080"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[FE80::A]", "[fe80::a]"),
        // A CIDR rule for IPv4 has to see this one as IPv4.
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[0:0::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        assert_eq!(host(raw).as_deref(), Ok(want), "{raw}");
    }
    for raw in [
        "[::1%25eth0]",
        "[::1%eth0]",
        "[fe80::1%eth0]:80",
        "[::1",
        "::1",
        "[]",
        "[",
        "]",
        "[::1]x",
        "[::1]]",
        "[[::1]]",
        "[v1.x]",
        "[127.0.0.1]",
        "[::1]:",
        "[:::1]",
        "[1:2:3:4:5:6:7:8:9]",
        "[::12345]",
        "x[::1]",
        "[a]",
    ] {
        assert!(
            matches!(
                host(raw),
                Err(Fault::Target(TargetError::Host | TargetError::Port))
            ),
            "{raw}"
        );
    }
}

#[test]
fn target_forms_belong_to_their_methods() {
    let options = parse(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap()
        .target;
    assert_eq!(options.path_and_query(), "*");
    assert!(
        parse(b"OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n")
            .unwrap()
            .target
            .authority()
            .is_empty()
    );
    assert_eq!(
        parse(b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap()
            .target
            .path_and_query(),
        "*"
    );
    let connect = parse(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(
        (connect.method, connect.target.authority()),
        (Method::CONNECT, "a:443")
    );
    for bytes in [
        "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: b\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(refusal(bytes.as_bytes()), 400, "{bytes}");
    }
}

#[test]
fn persistence() {
    for (version, connection, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE, x\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.1", "Connection: , ,\r\n", true),
    ] {
        let head = parse(format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n").as_bytes())
            .unwrap();
        assert_eq!(head.keep_alive, keep, "{version} {connection}");
        assert!(head.headers.is_empty());
    }
    for value in ["a b", "a;b", "\"close\"", "close\u{a0}", "(", "a,b c"] {
        assert_eq!(
            post(&[&format!("Connection: {value}")]).unwrap_err(),
            Fault::Connection,
            "{value}"
        );
    }
}
