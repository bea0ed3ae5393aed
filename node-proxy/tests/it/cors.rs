//! Pages of other origins: preflights are answered by the proxy, answers are marked whoever made them, and all others are
//! left alone. And failures that are made on purpose.

use crate::backend::Backend;
use crate::client::Response;
use crate::world::{APP, HTTP, WEB, World, eventually, ok, rules_of_web};

const ROUTES: &str = "
  - match: [{uri: {prefix: /teapot}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}]}
    directResponse: {status: 418}
  - match: [{uri: {prefix: /gone}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}]}
    route: [{destination: {host: web, subset: none}}]
  - match: [{uri: {prefix: /strict}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}], unmatchedPreflights: IGNORE}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /open}}]
    corsPolicy:
      allowOrigins: [{regex: 'https://.*\\.example'}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-token]
      exposeHeaders: [x-total]
      maxAge: 1h
      allowCredentials: true
    headers: {request: {remove: [origin]}}
    route: [{destination: {host: web, subset: v1}}]
  - route: [{destination: {host: web, subset: v1}}]
";

fn ask(world: &World, method: &str, path: &str, headers: &str) -> Response {
    let mut client = world.dial_to(WEB, HTTP);
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: web\r\n{headers}\r\n"
    ));
    client.response()
}

#[test]
fn preflights_are_answered_and_answers_are_marked() {
    let world = World::routed(&rules_of_web(ROUTES));
    let app = Backend::http(&world.v1, APP, |_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\naccess-control-allow-origin: *\r\n\r\n".to_vec()
    });
    let preflight = "origin: https://a.example\r\naccess-control-request-method: PUT\r\n";
    let answer = ask(&world, "OPTIONS", "/open", preflight);
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("access-control-allow-origin", Some("https://a.example")),
        ("access-control-allow-methods", Some("GET, PUT")),
        ("access-control-allow-headers", Some("x-token")),
        ("access-control-max-age", Some("3600")),
        ("access-control-allow-credentials", Some("true")),
        ("access-control-expose-headers", None),
        ("vary", Some("Origin")),
        ("x-weft-reason", None),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(app.hits(), 0, "the application is not asked");

    let answer = ask(&world, "PUT", "/open", "origin: https://a.example\r\n");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://a.example"),
        "though the rule removes the header on its way to the application"
    );
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some("x-total")
    );
    assert_eq!((app.hits(), app.last().header("origin")), (1, None));
}

#[test]
fn other_origins_get_what_the_application_says() {
    let world = World::routed(&rules_of_web(ROUTES));
    let app = Backend::http(&world.v1, APP, |seen| ok(seen.line()));
    let preflight = "origin: http://evil.test\r\naccess-control-request-method: PUT\r\n";
    // Istio's default: the application may know better.
    let answer = ask(&world, "OPTIONS", "/open", preflight);
    assert_eq!(answer.text(), "OPTIONS /open");
    let answer = ask(&world, "OPTIONS", "/strict", preflight);
    assert_eq!((answer.status, answer.text()), (200, ""));
    for answer in [
        answer,
        ask(&world, "GET", "/strict", "origin: http://evil.test\r\n"),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let answer = ask(&world, "OPTIONS", "/", preflight);
    assert_eq!(
        answer.text(),
        "OPTIONS /",
        "a rule without a policy has none"
    );
    assert_eq!(app.hits(), 3);
}

#[test]
fn answers_of_the_proxys_own_are_marked_too() {
    let world = World::routed(&rules_of_web(ROUTES));
    let origin = "origin: https://shop.example\r\n";
    for (path, status) in [("/teapot", 418), ("/gone", 503), ("/strict", 503)] {
        let answer = ask(&world, "GET", path, origin);
        assert_eq!(answer.status, status, "{path}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://shop.example"), "{path}");
    }
}

#[test]
fn faults_are_made_as_if_the_application_had_made_them() {
    let world = World::routed(&rules_of_web(
        "
  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /half}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 50}}}
    retries: {attempts: 0}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /again}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 50}}}
    retries: {attempts: 20, retryOn: '503', backoff: 1ms}
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /late}}]
    fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    timeout: 200ms
    route: [{destination: {host: web, subset: v1}}]
  - match: [{uri: {prefix: /slow}}]
    fault: {delay: {fixedDelay: 300ms, percentage: {value: 100}}}
    route: [{destination: {host: web, subset: v1}}]
",
    ));
    let app = world.web();
    let mut client = world.dial_to(WEB, HTTP);
    let answer = client.get("/abort");
    assert_eq!(
        (answer.status, answer.header("x-weft-reason")),
        (418, Some("fault_injected"))
    );
    let answer = client.get("/late");
    assert_eq!((answer.status, app.hits()), (504, 0), "time limits hold");
    let (answer, took) = crate::client::timed(|| client.get("/slow"));
    assert_eq!(answer.status, 200);
    assert!(took.as_millis() >= 300, "{took:?}");
    let failed = (0..200)
        .filter(|_| client.get("/half").status == 503)
        .count();
    // Seven standard deviations.
    assert!((50..=150).contains(&failed), "{failed} of 200");
    for _ in 0..50 {
        assert_eq!(client.get("/again").status, 200, "retries hold");
    }
    for (flags, status) in [("FI", 418), ("DI", 200), ("DI,UT", 504)] {
        eventually(&format!("{status} is counted with {flags}"), || {
            let labels = [
                &*format!("response_flags=\"{flags}\""),
                &*format!("response_code=\"{status}\""),
            ];
            world.proxy.metrics().sum("istio_requests_total", &labels) > 0.0
        });
    }
}
