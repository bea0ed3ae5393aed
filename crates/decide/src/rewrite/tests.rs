//! Rewrites and redirects as their authors see them.

use super::*;
use crate::fixture::{prepared_rule, problems};
use http::Method;
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::route::Action;

fn target(raw: &str) -> RequestTarget {
    RequestTarget::parse(&Method::GET, raw.as_bytes(), Some(b"shop.example:8080")).unwrap()
}

fn block(path: StringMatch) -> PreparedMatch {
    PreparedMatch::new(
        &RequestMatch {
            path: Some(path),
            ..Default::default()
        },
        &mut |_, _| {},
    )
}

fn rewritten(path: PathRewrite, matched: Option<StringMatch>, raw: &str) -> Result<String, Reason> {
    let rule = prepared_rule(|rule| {
        rule.rewrite = Some(Rewrite {
            path: Some(path),
            authority: None,
        })
    });
    let mut target = target(raw);
    rewrite(&mut target, &rule, matched.map(block).as_ref())?;
    Ok(target.path_and_query().to_owned())
}

fn matched(text: &str) -> PathRewrite {
    PathRewrite::Matched(text.to_owned())
}

fn regex(pattern: &str, substitution: &str) -> PathRewrite {
    PathRewrite::Regex {
        pattern: pattern.to_owned(),
        substitution: substitution.to_owned(),
    }
}

#[test]
fn what_matched_is_replaced() {
    let prefix = |text: &str| Some(StringMatch::Prefix(text.to_owned()));
    let segments = |text: &str| Some(StringMatch::PathPrefix(text.to_owned()));
    for (new, by, raw, wanted) in [
        ("/v2", prefix("/api"), "/api/x?q=1", "/v2/x?q=1"),
        ("/v2/", prefix("/api/"), "/api/x", "/v2/x"),
        ("/", prefix("/neu"), "/neu", "/"),
        ("/", prefix("/neu"), "/neu/x", "//x"),
        ("/", prefix("/neu"), "/neuland", "/land"),
        ("v2/", prefix("/api/"), "/api/x", "/v2/x"),
        ("/", segments("/neu"), "/neu/x", "/x"),
        ("/v2", segments("/neu/"), "/neu?a", "/v2?a"),
        ("/v2/", segments("/"), "/neu/x", "/v2/neu/x"),
        (
            "/one",
            Some(StringMatch::Exact("/two".to_owned())),
            "/two?q",
            "/one?q",
        ),
        (
            "/one",
            Some(StringMatch::Regex("/t.o".to_owned())),
            "/two?q",
            "/one?q",
        ),
        ("/base/", None, "/x/y", "/base/x/y"),
        ("/base?own=1", None, "/?q=2", "/base?own=1"),
    ] {
        assert_eq!(
            rewritten(matched(new), by, raw).as_deref(),
            Ok(wanted),
            "{new} for {raw}"
        );
    }
}

#[test]
fn whole_paths_and_patterns() {
    assert_eq!(
        rewritten(PathRewrite::Full("/all".to_owned()), None, "/x/y?z").as_deref(),
        Ok("/all?z")
    );
    assert_eq!(
        rewritten(
            regex("^/service/([^/]+)(/.*)$", r"\2/instance/\1"),
            None,
            "/service/foo/v1/api?q"
        )
        .as_deref(),
        Ok("/v1/api/instance/foo?q")
    );
    assert_eq!(
        rewritten(regex("one", "two"), None, "/xxx/one/yyy/one/zzz").as_deref(),
        Ok("/xxx/two/yyy/two/zzz")
    );
    assert_eq!(
        rewritten(regex("(?i)/OnE/", "/two/"), None, "/one/x").as_deref(),
        Ok("/two/x")
    );
    assert_eq!(
        rewritten(regex("nothing", "x"), None, "/a").as_deref(),
        Ok("/a")
    );
}

#[test]
fn a_rewrite_cannot_build_what_a_client_may_not_send() {
    assert_eq!(
        rewritten(matched("/../"), None, "/etc"),
        Err(Reason::BadRequest)
    );
    assert_eq!(
        rewritten(matched("/a b"), None, "/"),
        Err(Reason::BadRequest)
    );
    assert_eq!(
        rewritten(regex("/", &"x".repeat(5000)), None, &"/".repeat(100)),
        Err(Reason::BadRequest)
    );
    let rule = prepared_rule(|rule| {
        rule.rewrite = Some(Rewrite {
            path: None,
            authority: Some("a b".to_owned()),
        })
    });
    assert_eq!(
        rewrite(&mut target("/"), &rule, None),
        Err(Reason::BadRequest)
    );
}

#[test]
fn a_broken_pattern_fails_the_request_and_is_named() {
    assert_eq!(rewritten(regex("(", "x"), None, "/a"), Err(Reason::NoRoute));
    assert_eq!(
        rewritten(regex("a", r"\1"), None, "/a"),
        Err(Reason::NoRoute)
    );
    assert_eq!(
        rewritten(regex("a", r"\x"), None, "/a"),
        Err(Reason::NoRoute)
    );
    let found = problems(|rule| {
        rule.rewrite = Some(Rewrite {
            path: Some(regex("a", r"\1")),
            authority: None,
        })
    });
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("shop/vs rewrite: ") && found[0].contains("group 1"),
        "{found:?}"
    );
}

#[test]
fn the_authority_changes() {
    let rule = prepared_rule(|rule| {
        rule.rewrite = Some(Rewrite {
            path: Some(matched("/v2/")),
            authority: Some("Other.Example".to_owned()),
        });
    });
    let mut target = target("/x");
    rewrite(&mut target, &rule, None).unwrap();
    assert_eq!(
        (target.authority(), target.path()),
        ("other.example", "/v2/x")
    );
}

fn location(change: Redirect, raw: &str) -> String {
    let rule = prepared_rule(|rule| {
        rule.action = Action::Redirect(Redirect {
            status: 302,
            ..change
        })
    });
    let crate::PreparedAction::Redirect(prepared) = &rule.action else {
        panic!("a redirect was prepared")
    };
    let (status, location) = redirect(prepared, &target(raw), None, 9080, "http").unwrap();
    assert_eq!(status, StatusCode::FOUND);
    location
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    let text = |text: &str| Some(text.to_owned());
    for (change, wanted) in [
        (Redirect::default(), "http://shop.example:8080/a?q=1"),
        (
            Redirect {
                path: Some(PathRewrite::Full("/b".to_owned())),
                ..Default::default()
            },
            "http://shop.example:8080/b?q=1",
        ),
        (
            Redirect {
                path: Some(PathRewrite::Full("/b?own".to_owned())),
                ..Default::default()
            },
            "http://shop.example:8080/b?own",
        ),
        (
            Redirect {
                authority: text("other.example"),
                ..Default::default()
            },
            "http://other.example/a?q=1",
        ),
        (
            Redirect {
                authority: text("other.example:81"),
                ..Default::default()
            },
            "http://other.example:81/a?q=1",
        ),
        (
            Redirect {
                scheme: text("https"),
                ..Default::default()
            },
            "https://shop.example:8080/a?q=1",
        ),
        (
            Redirect {
                scheme: text("https"),
                port: Some(RedirectPort::ProtocolDefault),
                ..Default::default()
            },
            "https://shop.example/a?q=1",
        ),
        (
            Redirect {
                port: Some(RedirectPort::Number(80)),
                ..Default::default()
            },
            "http://shop.example/a?q=1",
        ),
        (
            Redirect {
                port: Some(RedirectPort::Number(8443)),
                scheme: text("https"),
                ..Default::default()
            },
            "https://shop.example:8443/a?q=1",
        ),
        (
            Redirect {
                port: Some(RedirectPort::Request),
                authority: text("o.example:1"),
                ..Default::default()
            },
            "http://o.example:9080/a?q=1",
        ),
    ] {
        assert_eq!(location(change.clone(), "/a?q=1"), wanted, "{change:?}");
    }
}

#[test]
fn a_location_without_a_host_never_names_one() {
    let rule = prepared_rule(|rule| {
        rule.action = Action::Redirect(Redirect {
            status: 301,
            ..Default::default()
        })
    });
    let crate::PreparedAction::Redirect(prepared) = &rule.action else {
        panic!("a redirect was prepared")
    };
    let target = RequestTarget::parse(&Method::GET, b"//evil.example/x", None).unwrap();
    assert_eq!(
        redirect(prepared, &target, None, 80, "http").unwrap().1,
        "/evil.example/x"
    );
}

#[test]
fn a_redirect_that_cannot_be_sent_is_named() {
    let found = problems(|rule| {
        rule.action = Action::Redirect(Redirect {
            status: 200,
            authority: Some("a\r\nb".to_owned()),
            ..Default::default()
        });
    });
    assert_eq!(found.len(), 2, "{found:?}");
}
