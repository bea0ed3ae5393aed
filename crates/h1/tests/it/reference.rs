//! A second request parser, written from RFC 9112 alone as plainly as possible: split, compare, refuse. Over mutants it has
//! to agree with the codec on what is a request, on its headers and on its framing. It leaves targets to the model's tests.

use crate::generate::{REQUESTS, Seed, mutant};
use weft_h1::{Fault, Framing, Limits, is_protected, is_reserved, parse_request};

/// What the reference makes of a head.
#[derive(Debug, PartialEq)]
struct Plain {
    method: String,
    headers: Vec<(String, Vec<u8>)>,
    framing: Framing,
    keep_alive: bool,
    consumed: usize,
}

const TOKEN: &str = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| TOKEN.as_bytes().contains(b))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while text.first().is_some_and(|b| b" \t".contains(b)) {
        text = &text[1..];
    }
    while text.last().is_some_and(|b| b" \t".contains(b)) {
        text = &text[..text.len() - 1];
    }
    text
}

/// `None`: not a complete head, or one to refuse for its syntax, framing or connection.
fn plain(input: &[u8]) -> Option<Plain> {
    let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let input = &input[skipped..];
    let end = input.windows(4).position(|w| w == b"\r\n\r\n")?;
    let mut lines = Vec::new();
    let mut rest = &input[..end + 2];
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    let words: Vec<_> = lines[0].split(|b| *b == b' ').collect();
    let [method, target, version] = words[..] else {
        return None;
    };
    if !is_token(method)
        || method.len() > 32
        || target.is_empty()
        || target.iter().any(|b| !(0x21..0x7f).contains(b))
    {
        return None;
    }
    let old = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return None,
    };
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if !is_token(name)
            || value
                .iter()
                .any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
        {
            return None;
        }
        fields.push((
            String::from_utf8(name.to_ascii_lowercase()).unwrap(),
            value.to_vec(),
        ));
    }
    judge(
        String::from_utf8(method.to_vec()).unwrap(),
        old,
        fields,
        skipped + end + 4,
    )
}

fn judge(
    method: String,
    old: bool,
    fields: Vec<(String, Vec<u8>)>,
    consumed: usize,
) -> Option<Plain> {
    let all = |name: &str| -> Vec<Vec<u8>> {
        fields
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.to_ascii_lowercase())
            .collect()
    };
    let framing = match (
        all("content-length").as_slice(),
        all("transfer-encoding").as_slice(),
    ) {
        ([], []) => Framing::None,
        ([length], []) => {
            let text = String::from_utf8(length.clone()).ok()?;
            let number: u64 = text.parse().ok()?;
            if number.to_string() != text {
                return None;
            }
            Framing::Length(number)
        }
        ([], [coding]) if coding == b"chunked" && !old => Framing::Chunked,
        _ => return None,
    };
    if matches!(&*method, "CONNECT" | "TRACE")
        && !matches!(framing, Framing::None | Framing::Length(0))
    {
        return None;
    }
    if !old && all("expect").iter().any(|v| v != b"100-continue") {
        return None;
    }
    let connection = all("connection").join(&b","[..]);
    let options: Vec<_> = connection
        .split(|b| *b == b',')
        .map(trim)
        .filter(|o| !o.is_empty())
        .collect();
    if options.iter().any(|o| !is_token(o)) {
        return None;
    }
    let has = |option: &[u8]| options.contains(&option);
    let own = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "expect",
        "http2-settings",
    ];
    let mut headers: Vec<_> = fields
        .into_iter()
        .filter(|(n, _)| !own.contains(&&**n) && !is_reserved(n.as_bytes()))
        .filter(|(n, _)| {
            !has(n.as_bytes())
                || is_protected(n.as_bytes())
                || matches!(&**n, "close" | "keep-alive" | "upgrade")
        })
        .collect();
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    let keep_alive = !has(b"close") && (!old || has(b"keep-alive"));
    Some(Plain {
        method,
        headers,
        framing,
        keep_alive,
        consumed,
    })
}

#[test]
fn the_reference_agrees() {
    let mut seed = Seed::new(7);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let input = mutant(&mut seed, REQUESTS);
        let ours = parse_request(&input, &Limits::default());
        let reference = plain(&input);
        match (ours, &reference) {
            (Ok(Some((head, consumed))), Some(reference)) => {
                let mut headers: Vec<_> = head
                    .headers
                    .iter()
                    .map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec()))
                    .collect();
                headers.sort_by(|a, b| a.0.cmp(&b.0));
                let (framing, keep_alive) = (head.framing, head.keep_alive);
                let ours = Plain {
                    method: head.method.to_string(),
                    headers,
                    framing,
                    keep_alive,
                    consumed,
                };
                assert_eq!(&ours, reference, "{}", input.escape_ascii());
                taken += 1;
            }
            (Ok(None), None) => {}
            (Err(reject), None) => {
                assert!(reject.status.is_client_error() || reject.status.is_server_error());
                refused += 1;
            }
            // The reference leaves target and Host to others.
            (Err(reject), Some(_))
                if matches!(
                    reject.reason,
                    Fault::Target(_) | Fault::HostMissing | Fault::HostRepeated
                ) => {}
            (ours, reference) => panic!(
                "{}: {ours:?}, reference: {reference:?}",
                input.escape_ascii()
            ),
        }
    }
    assert!(
        taken > 20_000 && refused > 20_000,
        "{taken} taken, {refused} refused: the generator lost its edge"
    );
}
