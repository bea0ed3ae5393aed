//! Row V23: the requirements of RFC 9110 and 9112 that the public probe suites check, named as there. `MUST` rows are all
//! here as far as a codec decides them; where the RFC leaves a choice, the row shows ours.

use crate::stream::{End, read, refusal};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn refused(rows: &[(&str, u16, &[u8])]) {
    for (name, status, bytes) in rows {
        assert_eq!(refusal(bytes), *status, "{name}");
    }
}

fn text(prefix: &str, rest: &str) -> Vec<u8> {
    format!("{prefix}{rest}").into_bytes()
}

#[test]
fn v23_heads_that_must_be_refused() {
    refused(&[
        ("SP-BEFORE-COLON", 400, &text(GET, "X : y\r\n\r\n")),
        ("OBS-FOLD", 400, &text(GET, "X: y\r\n z\r\n\r\n")),
        ("MISSING-HOST", 400, b"GET / HTTP/1.1\r\n\r\n"),
        ("DUPLICATE-HOST", 400, &text(GET, "Host: b\r\n\r\n")),
        ("DUPLICATE-HOST-SAME", 400, &text(GET, "Host: a\r\n\r\n")),
        ("CR-ONLY-LINE-ENDING", 400, b"GET / HTTP/1.1\rHost: a\r\r"),
        ("EMPTY-HEADER-NAME", 400, &text(GET, ": y\r\n\r\n")),
        ("INVALID-HEADER-NAME", 400, &text(GET, "X[]: y\r\n\r\n")),
        ("HEADER-NO-COLON", 400, &text(GET, "X\r\n\r\n")),
        (
            "WHITESPACE-BEFORE-HEADERS",
            400,
            b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n",
        ),
        ("MISSING-TARGET", 400, b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "ASTERISK-WITH-GET",
            400,
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "HOST-WITH-USERINFO",
            400,
            b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        ),
        (
            "HOST-WITH-PATH",
            400,
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        ),
        ("HOST-EMPTY-VALUE", 400, b"GET / HTTP/1.1\r\nHost: \r\n\r\n"),
        (
            "MULTIPLE-HOST-COMMA",
            400,
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        ),
        (
            "VERSION-MISSING-MINOR",
            400,
            b"GET / HTTP/1\r\nHost: a\r\n\r\n",
        ),
        (
            "VERSION-LEADING-ZEROS",
            400,
            b"GET / HTTP/01.01\r\nHost: a\r\n\r\n",
        ),
        (
            "VERSION-WHITESPACE",
            400,
            b"GET / HTTP/ 1.1\r\nHost: a\r\n\r\n",
        ),
        ("HTTP12-VERSION", 505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        ("INVALID-VERSION", 505, b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        ("HTTP09-REQUEST", 400, b"GET /\r\n"),
        (
            "MULTI-SP-REQUEST-LINE",
            400,
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "REQUEST-LINE-TAB",
            400,
            b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "FRAGMENT-IN-TARGET",
            400,
            b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "BARE-LF-REQUEST-LINE",
            400,
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        ),
        ("BARE-LF-HEADER", 400, b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
        ("BARE-CR-HEADER-VALUE", 400, &text(GET, "X: a\rb\r\n\r\n")),
        (
            "TRACE-WITH-BODY",
            400,
            b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        ),
        (
            "METHOD-CONNECT origin-form",
            400,
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "EXPECT-UNKNOWN",
            417,
            &text(POST, "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx"),
        ),
        (
            "ABSOLUTE-URI-HOST-MISMATCH",
            400,
            b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("NUL-IN-URL", 400, b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "CONTROL-CHARS-HEADER",
            400,
            &text(GET, "X: \x01\x02\x1f\r\n\r\n"),
        ),
        ("NUL-IN-HEADER-VALUE", 400, &text(GET, "X: a\0b\r\n\r\n")),
        (
            "NON-ASCII-HEADER-NAME",
            400,
            "GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: y\r\n\r\n".as_bytes(),
        ),
        (
            "NON-ASCII-URL",
            400,
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(),
        ),
        (
            "URL-OVERLONG-UTF8",
            400,
            b"GET /\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "URL-PERCENT-NULL",
            400,
            b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("BINARY-GARBAGE", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01"),
        ("WHITESPACE-ONLY-LINE", 400, b"   \r\n\r\n"),
        ("H2-PREFACE", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TAB-IN-NAME", 400, &text(GET, "X\tY: z\r\n\r\n")),
        (
            "LONG-URL",
            414,
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100_000)).as_bytes(),
        ),
        (
            "LONG-METHOD",
            501,
            format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(10_000)).as_bytes(),
        ),
        (
            "LONG-HEADER-NAME",
            431,
            &text(GET, &format!("{}: x\r\n\r\n", "a".repeat(50_000))),
        ),
        (
            "LONG-HEADER-VALUE",
            431,
            &text(GET, &format!("X: {}\r\n\r\n", "a".repeat(100_000))),
        ),
        (
            "MANY-HEADERS",
            431,
            &text(GET, &format!("{}\r\n", "a: b\r\n".repeat(10_000))),
        ),
    ]);
}

#[test]
fn v23_lengths_and_codings_that_must_be_refused() {
    for (name, status, lines) in [
        ("CL-NON-NUMERIC", 400, "Content-Length: abc"),
        ("CL-PLUS-SIGN", 400, "Content-Length: +5"),
        ("CL-NEGATIVE", 400, "Content-Length: -5"),
        ("CL-NEGATIVE-ZERO", 400, "Content-Length: -0"),
        ("CL-UNDERSCORE", 400, "Content-Length: 1_0"),
        ("CL-OCTAL", 400, "Content-Length: 0o5"),
        ("CL-HEX-PREFIX", 400, "Content-Length: 0x5"),
        ("CL-INTERNAL-SPACE", 400, "Content-Length: 1 0"),
        ("CL-LEADING-ZEROS", 400, "Content-Length: 005"),
        ("CL-DOUBLE-ZERO", 400, "Content-Length: 00"),
        ("CL-LEADING-ZEROS-OCTAL", 400, "Content-Length: 0200"),
        ("CL-OVERFLOW", 400, "Content-Length: 99999999999999999999"),
        ("CL-EMPTY", 400, "Content-Length: "),
        ("CL-COMMA-SAME", 400, "Content-Length: 5, 5"),
        ("CL-COMMA-DIFFERENT", 400, "Content-Length: 5, 6"),
        (
            "DUPLICATE-CL",
            400,
            "Content-Length: 5\r\nContent-Length: 6",
        ),
        (
            "DUPLICATE-CL-SAME",
            400,
            "Content-Length: 5\r\nContent-Length: 5",
        ),
        ("SP-BEFORE-COLON-CL", 400, "Content-Length : 5"),
        ("TE-SP-BEFORE-COLON", 400, "Transfer-Encoding : chunked"),
        (
            "TE-NOT-FINAL-CHUNKED",
            400,
            "Transfer-Encoding: chunked, gzip",
        ),
        (
            "TE-EMPTY-VALUE",
            400,
            "Transfer-Encoding: \r\nContent-Length: 5",
        ),
        (
            "TE-DUPLICATE-HEADERS",
            400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5",
        ),
        (
            "TE-DOUBLE-CHUNKED",
            400,
            "Transfer-Encoding: chunked, chunked",
        ),
        (
            "TE-IDENTITY",
            400,
            "Transfer-Encoding: identity\r\nContent-Length: 5",
        ),
        ("TE-VTAB", 400, "Transfer-Encoding: \x0bchunked"),
        ("TE-FORMFEED", 400, "Transfer-Encoding: \x0cchunked"),
        ("TE-NULL", 400, "Transfer-Encoding: chunked\0"),
        ("TE-OBS-FOLD", 400, "Transfer-Encoding:\r\n chunked"),
        (
            "TE-XCHUNKED",
            400,
            "Transfer-Encoding: xchunked\r\nContent-Length: 5",
        ),
        ("TE-TRAILING-COMMA", 400, "Transfer-Encoding: chunked,"),
        ("TE-LEADING-COMMA", 400, "Transfer-Encoding: , chunked"),
        (
            "TE-TRAILING-SPACE with a length",
            400,
            "Transfer-Encoding: chunked \r\nContent-Length: 5",
        ),
        ("CHUNKED-WITH-PARAMS", 400, "Transfer-Encoding: chunked;x=1"),
        (
            "UNKNOWN-TE-501 behind chunked",
            501,
            "Transfer-Encoding: gzip, chunked",
        ),
        (
            "CLTE-PIPELINE",
            400,
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
        ),
        (
            "TECL-PIPELINE",
            400,
            "Transfer-Encoding: chunked\r\nContent-Length: 30",
        ),
    ] {
        assert_eq!(
            refusal(&text(POST, &format!("{lines}\r\n\r\n0\r\n\r\n"))),
            status,
            "{name}"
        );
    }
    refused(&[(
        "TE-HTTP10",
        400,
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )]);
}

#[test]
fn v23_chunks_that_must_be_refused() {
    for (name, body) in [
        ("CHUNK-BARE-SEMICOLON", "5;\r\nhello\r\n0\r\n\r\n"),
        ("CHUNK-HEX-PREFIX", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("CHUNK-UNDERSCORE", "1_0\r\nhello world\r\n0\r\n\r\n"),
        ("CHUNK-LEADING-SP", " 5\r\nhello\r\n0\r\n\r\n"),
        ("CHUNK-MISSING-TRAILING-CRLF", "5\r\nhello0\r\n\r\n"),
        ("CHUNK-SPILL", "5\r\nhello!!\r\n0\r\n\r\n"),
        ("CHUNK-NEGATIVE", "-1\r\nhello\r\n0\r\n\r\n"),
        ("CHUNK-EXT-CTRL", "5;a\0b\r\nhello\r\n0\r\n\r\n"),
        ("CHUNK-EXT-CR", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("CHUNK-EXT-LF", "5;a\nhello\r\n0\r\n\r\n"),
        ("CHUNK-BARE-CR-TERM", "5\rhello\r\n0\r\n\r\n"),
        ("CHUNK-LF-TERM", "5\r\nhello\n0\r\n\r\n"),
        ("CHUNK-LF-TRAILER", "5\r\nhello\r\n0\r\n\n"),
        (
            "CHUNK-SIZE-OVERFLOW",
            "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        ),
        ("CHUNK-TRAILING-SP", "5 \r\nhello\r\n0\r\n\r\n"),
    ] {
        assert_eq!(refusal(&text(CHUNKED, body)), 400, "{name}");
    }
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(65_536));
    assert_eq!(refusal(&text(CHUNKED, &extension)), 400, "CHUNK-EXT-64K");
}

#[test]
fn v23_what_must_be_taken() {
    for (name, bytes, bodies, end) in [
        ("BASELINE", text(GET, "\r\n"), &[0][..], End::Clean),
        (
            "LEADING-CRLF",
            text("\r\n", &format!("{GET}\r\n")),
            &[0],
            End::Clean,
        ),
        (
            "ABSOLUTE-FORM",
            text("GET http://a/ HTTP/1.1\r\nHost: a\r\n", "\r\n"),
            &[0],
            End::Clean,
        ),
        (
            "OPTIONS-STAR",
            text("OPTIONS * HTTP/1.1\r\nHost: a\r\n", "\r\n"),
            &[0],
            End::Clean,
        ),
        (
            "HTTP10-NO-HOST",
            text("GET / HTTP/1.0\r\n", "\r\n"),
            &[0],
            End::Closed,
        ),
        (
            "HTTP10-DEFAULT-CLOSE",
            text("GET / HTTP/1.0\r\n\r\n", GET),
            &[0],
            End::Closed,
        ),
        (
            "CONNECTION-CLOSE",
            text(GET, "Connection: close\r\n\r\nGET / HTTP/1.1\r\n"),
            &[0],
            End::Closed,
        ),
        (
            "POST-CL-BODY",
            text(POST, "Content-Length: 5\r\n\r\nhello"),
            &[5],
            End::Clean,
        ),
        (
            "POST-CL-ZERO",
            text(POST, "Content-Length: 0\r\n\r\n"),
            &[0],
            End::Clean,
        ),
        ("POST-NO-CL-NO-TE", text(POST, "\r\n"), &[0], End::Clean),
        (
            "POST-CL-UNDERSEND",
            text(POST, "Content-Length: 10\r\n\r\nhello"),
            &[],
            End::Unfinished,
        ),
        (
            "POST-CL-HUGE-NO-BODY",
            text(POST, "Content-Length: 999999999\r\n\r\n"),
            &[],
            End::Unfinished,
        ),
        (
            "CL-TRAILING-SPACE",
            text(POST, "Content-Length: 5 \r\n\r\nhello"),
            &[5],
            End::Clean,
        ),
        (
            "CL-EXTRA-LEADING-SP",
            text(POST, "Content-Length:  5\r\n\r\nhello"),
            &[5],
            End::Clean,
        ),
        (
            "CL-TAB-BEFORE-VALUE",
            text(POST, "Content-Length:\t5\r\n\r\nhello"),
            &[5],
            End::Clean,
        ),
        (
            "TE-CASE-MISMATCH",
            text(POST, "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"),
            &[0],
            End::Clean,
        ),
        (
            "NORM-CASE-TE",
            text(POST, "TRANSFER-ENCODING: chunked\r\n\r\n0\r\n\r\n"),
            &[0],
            End::Clean,
        ),
        (
            "TE-TAB-BEFORE-VALUE",
            text(POST, "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"),
            &[0],
            End::Clean,
        ),
        (
            "CHUNKED-BODY",
            text(CHUNKED, "5\r\nhello\r\n0\r\n\r\n"),
            &[5],
            End::Clean,
        ),
        (
            "CHUNKED-MULTI",
            text(CHUNKED, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
            &[11],
            End::Clean,
        ),
        (
            "CHUNKED-EMPTY",
            text(CHUNKED, "0\r\n\r\n"),
            &[0],
            End::Clean,
        ),
        (
            "CHUNKED-HEX-UPPERCASE",
            text(CHUNKED, "A\r\nhelloworld\r\n0\r\n\r\n"),
            &[10],
            End::Clean,
        ),
        (
            "CHUNKED-TRAILER-VALID",
            text(CHUNKED, "5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
            &[5],
            End::Clean,
        ),
        (
            "CHUNKED-EXTENSION",
            text(CHUNKED, "5;ext=value\r\nhello\r\n0\r\n\r\n"),
            &[5],
            End::Clean,
        ),
        (
            "CHUNKED-NO-FINAL",
            text(CHUNKED, "5\r\nhello\r\n"),
            &[],
            End::Unfinished,
        ),
        (
            "GET-WITH-CL-BODY",
            text(GET, "Content-Length: 5\r\n\r\nhello"),
            &[5],
            End::Clean,
        ),
        (
            "INCOMPLETE-REQUEST",
            text(GET, "X: y"),
            &[],
            End::Unfinished,
        ),
        (
            "OPTIONS-CL-BODY",
            text(
                "OPTIONS / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
                "hello",
            ),
            &[5],
            End::Clean,
        ),
    ] {
        let (seen, last) = read(&bytes);
        let lengths: Vec<_> = seen.iter().map(|s| s.body.len()).collect();
        assert_eq!((lengths.as_slice(), last), (bodies, end), "{name}");
    }
    for name in ["Content_Length", "Transfer_Encoding"] {
        let (seen, _) = read(&text(POST, &format!("{name}: 5\r\n\r\n")));
        assert!(seen[0].head.headers.is_empty(), "NORM-UNDERSCORE {name}");
    }
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Authorization",
        "Content-Type",
    ] {
        let (seen, end) = read(&text(
            CHUNKED,
            &format!("5\r\nhello\r\n0\r\n{name}: 50\r\n\r\n"),
        ));
        assert_eq!(
            (seen.len(), end, &seen[0].trailers),
            (1, End::Clean, &None),
            "TRAILER {name}"
        );
    }
}
