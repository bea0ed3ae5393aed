use weft_model::matcher::StringMatch;

use super::*;

fn names(list: &[&str]) -> CorsList {
    CorsList::Names(list.iter().map(|name| (*name).to_owned()).collect())
}

fn prepare(cors: &Cors) -> PreparedCors {
    PreparedCors::new(cors, &mut |place, why| panic!("{place}: {why}"))
}

fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn text(map: &HeaderMap, name: &str) -> String {
    let values = map.get_all(name).iter();
    let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
    values.join("|")
}

/// A policy of the Gateway API: one exact origin, one wildcard, as compile lowers them.
fn shop() -> Cors {
    Cors {
        origins: vec![
            StringMatch::Exact("https://shop.example".to_owned()),
            StringMatch::Regex(r"https://[^/:]*\.cdn\.example".to_owned()),
        ],
        methods: names(&["GET", "PUT"]),
        headers: names(&["x-token"]),
        expose: names(&["x-total", "x-page"]),
        max_age: Some(5),
        ..Cors::default()
    }
}

fn preflight(cors: &PreparedCors, list: &[(&'static str, &'static str)]) -> Option<HeaderMap> {
    match cors.judge(&Method::OPTIONS, &headers(list)) {
        Verdict::Preflight(answer) => Some(answer),
        Verdict::Silent | Verdict::Granted(_) => None,
    }
}

#[test]
fn origins_are_compared_whole_and_a_default_port_is_no_port() {
    let cors = prepare(&shop());
    let table = [
        ("https://shop.example", true),
        ("https://shop.example:443", true),
        ("https://shop.example:8443", false),
        ("http://shop.example", false),
        ("https://shop.example.evil.example", false),
        ("https://a.cdn.example", true),
        ("https://a.b.cdn.example", true),
        ("https://cdn.example", false),
        ("https://evil.example/.cdn.example", false),
        ("null", false),
        ("", false),
    ];
    for (origin, allowed) in table {
        let request = headers(&[("origin", origin)]);
        let verdict = cors.judge(&Method::GET, &request);
        assert_eq!(matches!(verdict, Verdict::Granted(_)), allowed, "{origin}");
    }
    let nobody = cors.judge(&Method::GET, &HeaderMap::new());
    assert!(matches!(nobody, Verdict::Silent));
}

#[test]
fn a_preflight_is_answered_with_the_lists() {
    let cors = prepare(&shop());
    let asked = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-token, x-other"),
    ];
    let answer = preflight(&cors, &asked).unwrap();
    for (name, value) in [
        ("access-control-allow-origin", "https://shop.example"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-token"),
        ("access-control-max-age", "5"),
        ("access-control-allow-credentials", ""),
        ("access-control-expose-headers", ""),
        ("vary", "Origin"),
    ] {
        assert_eq!(text(&answer, name), value, "{name}");
    }
}

#[test]
fn what_is_no_preflight_goes_on() {
    let cors = prepare(&shop());
    let origin = ("origin", "https://shop.example");
    assert!(preflight(&cors, &[origin]).is_none(), "an ordinary OPTIONS");
    let get = headers(&[origin, ("access-control-request-method", "GET")]);
    assert!(matches!(
        cors.judge(&Method::GET, &get),
        Verdict::Granted(_)
    ));
}

#[test]
fn a_preflight_of_another_origin_gets_nothing_or_goes_on_as_istio_does() {
    let asked = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "PUT"),
    ];
    let answer = preflight(&prepare(&shop()), &asked);
    assert_eq!(answer, Some(HeaderMap::new()));
    let istio = prepare(&Cors {
        forward_unmatched: true,
        ..shop()
    });
    assert_eq!(preflight(&istio, &asked), None);
}

#[test]
fn wildcards_name_what_was_asked_for() {
    let all = Cors {
        origins: vec![StringMatch::Present],
        methods: CorsList::All,
        headers: CorsList::All,
        expose: CorsList::All,
        max_age: None,
        credentials: true,
        forward_unmatched: false,
    };
    let cors = prepare(&all);
    let asked = [
        ("origin", "http://any.example"),
        ("access-control-request-method", "PATCH"),
    ];
    let answer = preflight(&cors, &asked).unwrap();
    assert_eq!(text(&answer, "access-control-allow-methods"), "PATCH");
    assert_eq!(text(&answer, "access-control-allow-headers"), "");
    assert_eq!(text(&answer, "access-control-max-age"), "");
    assert_eq!(text(&answer, "access-control-allow-credentials"), "true");
    let asked = [
        asked[0],
        asked[1],
        ("access-control-request-headers", "a,b"),
    ];
    let answer = preflight(&cors, &asked).unwrap();
    assert_eq!(text(&answer, "access-control-allow-headers"), "a,b");

    let request = headers(&[("origin", "http://any.example")]);
    let mut response = headers(&[("content-type", "text/plain"), ("x-b", "1"), ("x-a", "2")]);
    let Verdict::Granted(grant) = cors.judge(&Method::GET, &request) else {
        panic!("every origin is allowed");
    };
    grant.apply(&mut response);
    assert_eq!(text(&response, "access-control-expose-headers"), "x-b, x-a");
    let open = prepare(&Cors {
        credentials: false,
        ..all
    });
    let Verdict::Granted(grant) = open.judge(&Method::GET, &request) else {
        panic!("every origin is allowed");
    };
    grant.apply(&mut response);
    assert_eq!(text(&response, "access-control-expose-headers"), "*");
}

#[test]
fn an_answer_carries_one_policy_only() {
    let cors = prepare(&shop());
    let request = headers(&[("origin", "https://shop.example")]);
    let Verdict::Granted(grant) = cors.judge(&Method::GET, &request) else {
        panic!("the origin is allowed");
    };
    let mut response = headers(&[
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "x-theirs"),
        ("vary", "accept"),
    ]);
    grant.apply(&mut response);
    assert_eq!(
        text(&response, "access-control-allow-origin"),
        "https://shop.example"
    );
    assert_eq!(
        text(&response, "access-control-expose-headers"),
        "x-total, x-page"
    );
    assert_eq!(text(&response, "vary"), "accept|Origin");
}
