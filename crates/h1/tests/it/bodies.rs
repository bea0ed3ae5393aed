//! Rows V4 to V6 and V20 of the attack history, and the plain workings of the body decoder.

use weft_h1::fuzz::{Body, decode_in_pieces};
use weft_h1::{BodyDecoder, BodyError, Decoded, Framing, Limits};

fn chunked(input: &[u8]) -> Result<Option<Body>, BodyError> {
    decode_in_pieces(Framing::Chunked, input, &[], &Limits::default())
}

#[test]
fn bodies_that_are_fine() {
    for (input, data, rest) in [
        ("0\r\n\r\n", "", ""),
        ("000\r\n\r\nGET", "", "GET"),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        (
            "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nX",
            "hello world",
            "X",
        ),
        (
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
            "",
        ),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5;a\r\nhello\r\n0;b=c;d=\"e;\\\"\r\n\r\n", "", "?"),
        ("5;a\r\nhello\r\n0;b=c;d=\"e;\\\"\"\r\n\r\n", "hello", ""),
        ("5 ;a\r\nhello\r\n0\t; \tb \t= \tc\r\n\r\n", "hello", ""),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", ""),
        ("3\r\n0\r\n\r\n0\r\n\r\n", "0\r\n", ""),
        ("0\r\nX: y\r\nx: z\r\n\r\n", "", ""),
    ] {
        if rest == "?" {
            assert_eq!(
                chunked(input.as_bytes()),
                Err(BodyError::ChunkExtension),
                "{input:?}"
            );
            continue;
        }
        let body = chunked(input.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (&*body.data, body.consumed),
            (data.as_bytes(), input.len() - rest.len()),
            "{input:?}"
        );
    }
}

#[test]
fn v4_v5_v6_chunk_lines_follow_the_grammar() {
    for (input, error) in [
        // V4: no size that could overflow.
        ("f0000000000000003\r\nabc", BodyError::ChunkSize),
        ("00000000000000005\r\nhello", BodyError::ChunkSize),
        ("0x5\r\nhello", BodyError::ChunkExtension),
        ("+5\r\nhello", BodyError::ChunkSize),
        ("-5\r\nhello", BodyError::ChunkSize),
        ("5_0\r\nhello", BodyError::ChunkExtension),
        (" 5\r\nhello", BodyError::ChunkSize),
        ("\r\n\r\n", BodyError::ChunkSize),
        ("g\r\n", BodyError::ChunkSize),
        (";a\r\n", BodyError::ChunkSize),
        ("5\u{a0}\r\nhello", BodyError::ChunkExtension),
        ("5 \r\nhello", BodyError::ChunkExtension),
        ("5\t\r\nhello", BodyError::ChunkExtension),
        ("5 5\r\nhello", BodyError::ChunkExtension),
        ("5,5\r\nhello", BodyError::ChunkExtension),
        // V5: no bare LF, no bare CR.
        ("5\nhello\r\n0\r\n\r\n", BodyError::LineEnd),
        ("5\rXhello\r\n", BodyError::ChunkExtension),
        ("5\r\r\nhello", BodyError::ChunkExtension),
        ("5\r\nhello\n0\r\n\r\n", BodyError::ChunkEnd),
        ("5\r\nhello\r0\r\n\r\n", BodyError::ChunkEnd),
        ("5\r\nhelloo\r\n0\r\n\r\n", BodyError::ChunkEnd),
        ("5\r\nhello0\r\n\r\n", BodyError::ChunkEnd),
        ("0\n\r\n", BodyError::LineEnd),
        ("0\r\n\n", BodyError::LineEnd),
        // V6: extensions are read, or the line's end would be in doubt.
        ("1;a\nb\r\nZ", BodyError::LineEnd),
        ("1;a\rb\r\nZ", BodyError::ChunkExtension),
        ("1;\r\nZ", BodyError::ChunkExtension),
        ("1;a;\r\nZ", BodyError::ChunkExtension),
        ("1;a=\r\nZ", BodyError::ChunkExtension),
        ("1;=b\r\nZ", BodyError::ChunkExtension),
        ("1;a b\r\nZ", BodyError::ChunkExtension),
        ("1;a=\"b\r\nZ", BodyError::ChunkExtension),
        ("1;a=\"b\"c\r\nZ", BodyError::ChunkExtension),
        ("1;a=\"\u{1}\"\r\nZ", BodyError::ChunkExtension),
        ("1;a\u{0}\r\nZ", BodyError::ChunkExtension),
        ("1;a=b \r\nZ", BodyError::ChunkExtension),
    ] {
        assert_eq!(chunked(input.as_bytes()), Err(error), "{input:?}");
    }
}

#[test]
fn v6_extensions_have_a_budget_for_the_whole_message() {
    let line = format!("1;{}\r\nZ\r\n", "a".repeat(250));
    let limits = Limits::default();
    let fits = limits.chunk_extensions / 251;
    assert_eq!(chunked(line.repeat(fits).as_bytes()), Ok(None));
    assert_eq!(
        chunked(line.repeat(fits + 1).as_bytes()),
        Err(BodyError::ExtensionsTooLong)
    );
    let long = format!("1;{}", "a".repeat(64 * 1024));
    assert_eq!(chunked(long.as_bytes()), Err(BodyError::ChunkLine));
    assert_eq!(chunked(&b"1;a"[..]), Ok(None), "not too long yet");
}

#[test]
fn v20_trailers_are_bounded_and_cannot_change_the_message() {
    let input = b"0\r\nContent-Length: 5\r\nHost: x\r\nAuthorization: y\r\nGrpc-Status: 0\r\nX-A: 1\r\nX-A:\t2 \r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    let body = chunked(input).unwrap().unwrap();
    let trailers = body.trailers.unwrap();
    let values: Vec<_> = trailers
        .get_all("x-a")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert_eq!(
        (
            trailers.len(),
            values,
            trailers["grpc-status"].to_str().unwrap()
        ),
        (3, vec!["1", "2"], "0")
    );
    assert_eq!(
        chunked(b"0\r\nHost: x\r\n\r\n").unwrap().unwrap().trailers,
        None
    );

    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(chunked(many.as_bytes()), Err(BodyError::TrailersTooLarge));
    let large = format!("0\r\na: {}\r\n\r\n", "b".repeat(8192));
    assert_eq!(chunked(large.as_bytes()), Err(BodyError::TrailersTooLarge));
    let unfinished = format!("0\r\na: {}", "b".repeat(8192));
    assert_eq!(
        chunked(unfinished.as_bytes()),
        Err(BodyError::TrailersTooLarge)
    );
    for line in [
        "no colon",
        ": x",
        "a : b",
        " a: b",
        "a: b\rc",
        "a: b\u{0}",
        "a(: b",
        "X:POST / HTTP/1.1\r\n more",
    ] {
        let input = format!("0\r\n{line}\r\n\r\n");
        assert_eq!(
            chunked(input.as_bytes()),
            Err(BodyError::Trailer),
            "{line:?}"
        );
    }
    assert_eq!(chunked(b"0\r\na: b\n\r\n"), Err(BodyError::LineEnd));
}

#[test]
fn data_is_lent_in_place_and_the_next_message_is_left_alone() {
    let limits = Limits::default();
    let mut body = BodyDecoder::new(Framing::Length(5), &limits);
    assert_eq!((body.run(), body.is_done()), (Some(5), false));
    assert_eq!(body.decode(b""), Ok(Decoded::NeedMore { consumed: 0 }));
    assert_eq!(body.decode(b"hel"), Ok(Decoded::Data { skip: 0, len: 3 }));
    assert_eq!(body.eof(), Err(BodyError::Truncated));
    assert_eq!(body.decode(b"loGET"), Ok(Decoded::Data { skip: 0, len: 2 }));
    assert!(body.is_done() && body.eof().is_ok());
    assert_eq!(
        body.decode(b"GET"),
        Ok(Decoded::End {
            consumed: 0,
            trailers: None
        })
    );

    let mut body = BodyDecoder::new(Framing::Chunked, &limits);
    assert_eq!(body.decode(b"5\r"), Ok(Decoded::NeedMore { consumed: 0 }));
    assert_eq!(
        body.decode(b"5\r\nhel"),
        Ok(Decoded::Data { skip: 3, len: 3 })
    );
    assert_eq!((body.run(), body.advance(1)), (Some(2), Ok(1)));
    assert_eq!(
        body.decode(b"o\r\n0\r\nA"),
        Ok(Decoded::Data { skip: 0, len: 1 })
    );
    assert_eq!(
        body.decode(b"\r\n0\r\nA"),
        Ok(Decoded::NeedMore { consumed: 5 })
    );
    assert_eq!(body.eof(), Err(BodyError::Truncated));
    assert!(matches!(
        body.decode(b"A: b\r\n\r\nGET"),
        Ok(Decoded::End {
            consumed: 8,
            trailers: Some(_)
        })
    ));

    let mut body = BodyDecoder::new(Framing::UntilClose, &limits);
    assert_eq!(
        (body.run(), body.decode(b"abc")),
        (None, Ok(Decoded::Data { skip: 0, len: 3 }))
    );
    assert!(body.eof().is_ok() && !body.is_done());

    for framing in [Framing::None, Framing::Length(0)] {
        let mut body = BodyDecoder::new(framing, &limits);
        assert!(body.is_done());
        assert_eq!(
            body.decode(b"GET"),
            Ok(Decoded::End {
                consumed: 0,
                trailers: None
            })
        );
    }
}

#[test]
fn huge_chunks_are_data_and_not_memory() {
    let mut body = BodyDecoder::new(Framing::Chunked, &Limits::default());
    assert_eq!(
        body.decode(b"ffffffffffffffff\r\nabc"),
        Ok(Decoded::Data { skip: 18, len: 3 })
    );
    assert_eq!(body.run(), Some(u64::MAX - 3));
}

#[test]
fn a_bound_on_bodies_holds_for_every_framing() {
    let limits = Limits {
        body: 4,
        ..Limits::default()
    };
    let chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(
        decode_in_pieces(Framing::Chunked, chunks, &[], &limits),
        Err(BodyError::TooLarge)
    );
    assert_eq!(
        decode_in_pieces(Framing::UntilClose, b"abcde", &[3], &limits),
        Err(BodyError::TooLarge)
    );
    assert_eq!(
        decode_in_pieces(Framing::UntilClose, b"abcd", &[3], &limits),
        Ok(None)
    );
    // The head's parser refuses a larger Content-Length before a decoder is made.
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(
        weft_h1::parse_request(head, &limits)
            .unwrap_err()
            .status
            .as_u16(),
        413
    );
}
