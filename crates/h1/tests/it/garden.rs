//! Row V22: the patterns by which servers and proxies were found to disagree about one byte stream (the trophies of the
//! HTTP Garden). Each is refused, or comes to requests that everybody must read the same way; numbers are the collection's.

use crate::stream::{End, Seen, read};

/// What a stream may come to.
enum Want {
    /// The first message is refused, nothing comes through.
    Refused,
    /// These requests come through whole, with this many bytes of body each; then the stream ends as given.
    Through(&'static [(&'static str, usize)], End),
}

use Want::{Refused, Through};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn check(rows: &[(&str, &[u8], Want)]) {
    for (name, bytes, want) in rows {
        let (seen, end) = read(bytes);
        let lines: Vec<_> = seen.iter().map(|s| (s.line(), s.body.len())).collect();
        match want {
            Refused => {
                assert!(
                    lines.is_empty() && matches!(end, End::Refused(_)),
                    "{name}: {lines:?} {end:?}"
                );
            }
            Through(requests, last) => {
                let want: Vec<_> = requests
                    .iter()
                    .map(|(l, n)| ((*l).to_owned(), *n))
                    .collect();
                assert_eq!((&lines, &end), (&want, last), "{name}");
            }
        }
        assert!(seen.iter().all(|s: &Seen| s.trailers.is_none()), "{name}");
    }
}

fn post(lines: &str) -> Vec<u8> {
    format!("{POST}{lines}").into_bytes()
}

fn chunks(body: &str) -> Vec<u8> {
    format!("{CHUNKED}{body}").into_bytes()
}

#[test]
fn v22_server_bugs_in_heads() {
    check(&[
        (
            "s2 control bytes in a value",
            &post("X: v\0\ralue\r\n\r\n"),
            Refused,
        ),
        (
            "s3 space after a name",
            &post("Content-Length : 34\r\n\r\n"),
            Refused,
        ),
        (
            "s4 space before the first name",
            b"GET / HTTP/1.1\r\n\tContent-Length: 1\r\n\r\nX",
            Refused,
        ),
        (
            "s5 version as a prefix",
            b"GET /test HTTP/1.32\r\nHost: a\r\n\r\n",
            Refused,
        ),
        (
            "s6 method as a prefix",
            b"G=\":<>(e),[T];?\" /get HTTP/1.1\r\nHost: a\r\n\r\n",
            Refused,
        ),
        (
            "s7 target unchecked",
            b"GET ! HTTP/1.1\r\nHost: a\r\n\r\n",
            Refused,
        ),
        (
            "s8 non-ASCII name",
            b"GET / HTTP/1.1\r\nHost: a\r\n\xefoo: bar\r\n\r\n",
            Refused,
        ),
        (
            "s9 LF inside the request line",
            b"GET /\nHTTP/1.1\r\nHost: a\r\n\r\n",
            Refused,
        ),
        (
            "s10 signs and underscores in a length",
            &post("Content-Length: +1_0\r\n\r\n0123456789"),
            Refused,
        ),
        (
            "s11 chunked twice",
            &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Refused,
        ),
        (
            "s12 a0 around chunked",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\xa0\r\n\r\n",
            Refused,
        ),
        (
            "s13 CR as a line end",
            b"GET / HTTP/1.1\r\nHost: a\r\nVisible: :/\rSmuggled: :)\r\n\r\n",
            Refused,
        ),
        (
            "s14 separators in a name",
            &post("\x01\x1f \"(),/;<=>?@[/]{}: whatever\r\n\r\n"),
            Refused,
        ),
        (
            "s15 version unchecked",
            b"GET / HTTP/\r\r1.1\r\nHost: a\r\n\r\n",
            Refused,
        ),
        (
            "s16 s38 empty length",
            &post("Content-Length: \r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Refused,
        ),
        ("s18 empty name", &post(": ignored\r\n\r\n"), Refused),
        (
            "s19 LF after the colon",
            &post("Useless:\n\nGET / HTTP/1.1\r\n\r\n"),
            Refused,
        ),
        (
            "s20 85 after a name",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\x85: 10\r\n\r\n0123456789",
            Refused,
        ),
        (
            "s21 ,chunked",
            &post("Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "s23 s33 two lengths",
            &post("Content-Length: 1\r\nContent-Length: 0\r\n\r\nZ"),
            Refused,
        ),
        (
            "s24 version overflow",
            b"GET / HTTP/4294967295.255\r\nHost: a\r\n\r\n",
            Refused,
        ),
        (
            "s26 negative length",
            &post("Content-Length: -48\r\n\r\n"),
            Refused,
        ),
        (
            "s27 colon alone",
            &post(":\r\nI: am chopped off\r\n\r\n"),
            Refused,
        ),
        (
            "s28 s37 no colon",
            &post("Content-Length 10\r\n\r\n0123456789"),
            Refused,
        ),
        (
            "s29 length as a prefix",
            &post("Content-Length: 1Z\r\n\r\nZ"),
            Refused,
        ),
        (
            "s30 CR X ends the head",
            &post("\rZGET /evil: HTTP/1.1\r\nHost: a\r\n\r\n"),
            Refused,
        ),
        (
            "s32 octal length",
            &post("Content-Length: 010\r\n\r\n01234567"),
            Refused,
        ),
        (
            "s34 CR in a value",
            &post("Header: va\rlue\r\n\r\n"),
            Refused,
        ),
        (
            "s35 s43 NUL in a value",
            &post("Test: test\0DROPPED\r\nConnection: close\r\n\r\n"),
            Refused,
        ),
        (
            "s37 name over two lines",
            &post("Transfer-\r\nEncoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "s40 nothing checked",
            b"\0 / HTTP/............0596.7407.\r\n\r\n",
            Refused,
        ),
        (
            "s42 empty length first",
            &post("Content-Length: \r\nContent-Length: 43\r\n\r\nPOST"),
            Refused,
        ),
        (
            "s44 unknown coding",
            &post("Transfer-Encoding: blegh\r\n\r\n1\r\nZ\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "s46 high bytes around a host",
            b"POST / HTTP/1.1\r\nHost: \xffa\xff\r\n\r\n",
            Refused,
        ),
        (
            "s45 junk after the last request",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nInvalid\r\n\r\n",
            Through(&[("GET /", 0)], End::Closed),
        ),
        (
            "s48 pipelined behind an empty body",
            &post(
                "Content-Length: 0\r\n\r\nPOST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            Through(&[("POST /", 0), ("POST /1", 3), ("GET /2", 0)], End::Clean),
        ),
        (
            "s41 obs-text stays in a value",
            b"GET /login HTTP/1.1\r\nHost: a\r\nUser: \x85admin\xa0\r\n\r\n",
            Through(&[("GET /login", 0)], End::Clean),
        ),
    ]);
}

#[test]
fn v22_server_bugs_in_bodies() {
    check(&[
        (
            "s1 s22 0_2e",
            &chunks("0_2e\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        ("s17 empty chunk size", &chunks("\r\n\r\n"), Refused),
        (
            "s25 strtoll",
            &chunks("+0x5\r\nhello\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "s31 CR X ends a chunk line",
            &chunks("5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "s36 CR in an extension",
            &chunks("41;a=b\r\rXXXX\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "s47 an invalid chunk ends all",
            &chunks("INVALID!!!\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Refused,
        ),
    ]);
    // s39: a trailer that looks like a request is a trailer.
    let (seen, end) = read(&chunks("0\r\nX:POST / HTTP/1.1\r\n\r\n"));
    assert_eq!((seen.len(), end), (1, End::Clean));
    assert_eq!(seen[0].trailers.as_ref().unwrap()["x"], "POST / HTTP/1.1");
}

#[test]
fn v22_proxy_bugs() {
    check(&[
        (
            "t1 hexadecimal length",
            &post("Content-Length: 0x10\r\n\r\nZ"),
            Refused,
        ),
        (
            "t2 t4 invalid chunks",
            &chunks("Z\r\nZZ\r\nZZZ\r\n\r\n"),
            Refused,
        ),
        (
            "t3 CR before an extension",
            &chunks("2\r\r;a\r\n02\r\n41\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "t5 empty length",
            &post("content-length: \r\n\r\n"),
            Refused,
        ),
        (
            "t6 85 in a name",
            b"GET / HTTP/1.1\r\nHost: a\r\nHeader\x85: value\r\n\r\n",
            Refused,
        ),
        ("t6 @ in a name", &post("Head@er: value\r\n\r\n"), Refused),
        (
            "t7 size as a prefix",
            &chunks("1these-bytes-never-get-validated\r\nZ\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "t9 t18 ,chunked",
            &post("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "t10 CR in a value",
            &post("Invalid-Header: this\rvalue\ris\r\n\r\n"),
            Refused,
        ),
        (
            "t11 empty length first",
            &post("content-length: \r\ncontent-length: 59\r\n\r\nPOST /evil"),
            Refused,
        ),
        (
            "t12 NUL in Host",
            b"GET / HTTP/1.1\r\nHost: google.com\0.example\r\n\r\n",
            Refused,
        ),
        (
            "t13 LF behind a chunk",
            &chunks("a\r\n0123456789\n0\r\n\r\n"),
            Refused,
        ),
        (
            "t14 no colon",
            &post("Te\nst: test\r\nConnection: close\r\n\r\n"),
            Refused,
        ),
        (
            "t15 length beside an unknown coding",
            &post("Transfer-Encoding: x\r\nContent-Length: 5\r\n\r\n0r\n\r\n"),
            Refused,
        ),
        (
            "t16 bare LF",
            b"GET / HTTP/1.1\nHost: whatever\nConnection: close\n\n",
            Refused,
        ),
        (
            "t17 empty line before the last chunk",
            &chunks("17\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        ("t19 signs in a size", &chunks("-0x0\r\n\r\n"), Refused),
        ("t20 NUL joins lines", &post("a:b\r\nc\0\r\n\r\n"), Refused),
        (
            "t21 a GET keeps its body",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234567890",
            Through(&[("GET /", 10)], End::Clean),
        ),
        (
            "t22 two lengths",
            &post("Content-Length: 0\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\n"),
            Refused,
        ),
        (
            "t23 length and coding",
            &post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
        (
            "t24 space before a size",
            &chunks("           0\r\n\r\n"),
            Refused,
        ),
        (
            "t25 chunked twice",
            &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Refused,
        ),
    ]);
}
