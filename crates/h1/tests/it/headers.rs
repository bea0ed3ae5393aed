//! Rows V24 to V28 and V35 of the attack history at the level of a codec: which headers come through, in which order, and
//! which never do.

use http::{HeaderName, Method};
use weft_h1::{
    Limits, RequestHead, is_forbidden_trailer, is_reserved, parse_request, parse_response,
};

fn head(lines: &[&str]) -> RequestHead {
    let lines: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    parse_request(bytes.as_bytes(), &Limits::default())
        .unwrap()
        .unwrap()
        .0
}

fn names(head: &RequestHead) -> Vec<&str> {
    head.headers.keys().map(HeaderName::as_str).collect()
}

#[test]
fn v24_v25_every_value_is_there_in_order() {
    let head = head(&["x-role: user", "other: 1", "X-Role: admin", "x-role: a, b"]);
    let roles: Vec<_> = head
        .headers
        .get_all("x-role")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "admin", "a, b"]);
}

#[test]
fn v26_connection_cannot_nominate_what_belongs_to_the_ends() {
    let protected = [
        "x-forwarded-client-cert: c",
        "X-Forwarded-For: 1.2.3.4",
        "Forwarded: for=x",
        "Authorization: secret",
        "x-request-id: 7",
        "traceparent: t",
        "Cookie: c",
        "x-envoy-original-path: p",
        "x-b3-traceid: t",
        "via: v",
    ];
    for letters in [str::to_lowercase, str::to_uppercase] {
        let nominated: Vec<_> = protected
            .iter()
            .map(|l| letters(l.split(':').next().unwrap()))
            .collect();
        let connection = format!(
            "Connection: close, {}, host, content-length",
            nominated.join(" , ")
        );
        let mut lines = vec![connection.as_str()];
        lines.extend(protected);
        let head = head(&lines);
        assert_eq!(head.headers.len(), protected.len());
        assert_eq!(head.target.authority(), "a");
        assert!(!head.keep_alive);
    }
}

#[test]
fn hop_by_hop_headers_and_what_they_nominate_are_gone() {
    let head = head(&[
        "X-Mine: 1",
        "Keep-Alive: timeout=5",
        "Connection: X-Mine, x-second",
        "Proxy-Connection: x",
        "TE: gzip, trailers",
        "x-second: 2",
        "X-Second: 3",
        "HTTP2-Settings: x",
        "Upgrade: x",
        "Accept: */*",
        "Trailer: x",
        "Connection: x-third",
        "x-third: 4",
    ]);
    assert_eq!(names(&head), ["accept", "trailer"]);
    assert!(head.te_trailers);
}

#[test]
fn v27_names_that_others_would_fold_into_ours_are_dropped() {
    let head = head(&[
        "X-Weft-Identity: admin",
        "x_weft_identity: admin",
        "X-Weft_Identity: admin",
        "X_Forwarded_For: 1",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "x_request_id: 1",
        "Host_: x",
        "HO_ST: x",
        "x-real_ip: 1",
        "cookie_: x",
        "My_Own: kept",
        "x-weftless: kept",
    ]);
    assert_eq!(
        names(&head),
        ["host_", "ho_st", "cookie_", "my_own", "x-weftless"]
    );
    for name in [
        "x-weft-peer",
        "X-WEFT-",
        "x_weft-a",
        "content_LENGTH",
        "trace_parent",
    ] {
        assert_eq!(
            is_reserved(name.as_bytes()),
            name != "trace_parent",
            "{name}"
        );
    }
}

#[test]
fn v35_what_reaches_a_log_is_visible_ascii() {
    for raw in ["/\n", "/\u{1b}[0m", "/\u{7f}", "/\u{9b}"] {
        let bytes = format!("GET {raw} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            parse_request(bytes.as_bytes(), &Limits::default()).is_err(),
            "{raw:?}"
        );
    }
    let head = head(&["User-Agent: \"quoted\" \\ \u{e9}"]);
    assert_eq!(
        head.headers["user-agent"].as_bytes(),
        "\"quoted\" \\ \u{e9}".as_bytes()
    );
}

#[test]
fn v20_trailers_that_would_change_the_message_are_forbidden() {
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
        "cookie",
        "set-cookie",
        "te",
        "connection",
        "trailer",
        "content-type",
        "content-encoding",
        "cache-control",
        "x-forwarded-for",
        "x-weft-a",
        "content_length",
        "expect",
        "x-request-id",
        "location",
        "max-forwards",
        "www-authenticate",
        "range",
        "if-match",
        "date",
        "vary",
    ] {
        assert!(
            is_forbidden_trailer(&HeaderName::from_static(name)),
            "{name}"
        );
    }
    for name in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "server-timing",
        "etag",
        "digest",
        "x-checksum",
    ] {
        assert!(
            !is_forbidden_trailer(&HeaderName::from_static(name)),
            "{name}"
        );
    }
}

#[test]
fn the_reason_of_a_proxy_of_the_mesh_is_kept_apart_from_the_headers() {
    let head = "HTTP/1.1 503 Service Unavailable\r\nX-Weft-Reason: one\r\nx-weft-other: 1\r\n\
                content-length: 0\r\nx-weft-reason: two\r\n\r\n";
    let parsed = parse_response(head.as_bytes(), &Method::GET, &Limits::default());
    let (head, _) = parsed.unwrap().unwrap();
    assert_eq!(head.reason.unwrap(), "two");
    assert!(head.headers.is_empty(), "{:?}", head.headers);
}
