//! hyper as a second opinion: whatever the codec takes, hyper's server takes too and sees the same method, target,
//! headers, body and number of requests. (The other direction does not hold: hyper repairs what we refuse.)

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use crate::generate::{REQUESTS, Seed, mutant};
use crate::stream::{End, Seen, read};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use weft_model::target::RequestTarget;

/// A request as hyper saw it, its body complete.
struct Theirs {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

async fn hyper_reads(bytes: &[u8]) -> Vec<Theirs> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let record = seen.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let record = record.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let trailers = body.trailers().cloned();
                record.borrow_mut().push(Theirs {
                    method: parts.method,
                    uri: parts.uri.to_string(),
                    headers: parts.headers,
                    body: body.to_bytes(),
                    trailers,
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let io = TokioIo::new(server);
    // An error is what hyper found after the requests that it recorded.
    let _ended = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(io, service)
        .await;
    seen.take()
}

/// Targets that `http::Uri` does not take, though they are harmless: a listed exception.
fn uri_takes(target: &RequestTarget, raw: &[u8]) -> bool {
    !target.is_authority_form()
        && str::from_utf8(raw).is_ok_and(|raw| raw.parse::<http::Uri>().is_ok())
}

fn raw_target(head: &[u8]) -> &[u8] {
    let line = head
        .split(|b| *b == b'\r')
        .find(|line| !matches!(line, [] | [b'\n']))
        .unwrap_or_default();
    line.split(|b| *b == b' ').nth(1).unwrap_or_default()
}

fn compare(ours: &Seen, theirs: &Theirs) {
    assert_eq!(ours.head.method, theirs.method);
    let host = theirs.headers.get("host").map(http::HeaderValue::as_bytes);
    let target = RequestTarget::parse(&theirs.method, theirs.uri.as_bytes(), host);
    assert_eq!(target.as_ref(), Ok(&ours.head.target));
    assert_eq!(ours.body, theirs.body);
    for name in ours.head.headers.keys() {
        let (our, their) = (
            ours.head.headers.get_all(name),
            theirs.headers.get_all(name),
        );
        assert!(our.iter().eq(their.iter()), "{name}");
    }
    if let Some(trailers) = &ours.trailers {
        let their = theirs.trailers.as_ref().unwrap();
        assert!(
            trailers
                .keys()
                .all(|name| trailers.get_all(name).iter().eq(their.get_all(name).iter()))
        );
    }
}

#[test]
fn hyper_agrees_with_all_that_we_take() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut seed = Seed::new(11);
    let mut compared = 0;
    for _ in 0..20_000 {
        let input = mutant(&mut seed, REQUESTS);
        let (ours, end) = read(&input);
        let Some(first) = ours.first() else { continue };
        if !uri_takes(&first.head.target, raw_target(&input)) {
            continue;
        }
        let theirs = runtime.block_on(hyper_reads(&input));
        let context = format!("{}\nours: {ours:?} {end:?}", input.escape_ascii());
        assert!(!theirs.is_empty(), "hyper took nothing of {context}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            compare(ours, theirs);
            compared += 1;
        }
        assert!(
            theirs.len() >= ours.len(),
            "hyper took {} of {context}",
            theirs.len()
        );
        if matches!(end, End::Clean | End::Closed) {
            assert_eq!(theirs.len(), ours.len(), "{context}");
        }
    }
    assert!(
        compared > 5_000,
        "{compared} compared: the generator lost its edge"
    );
}
