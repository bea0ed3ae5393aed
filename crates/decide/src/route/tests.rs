//! Istio's matching rules, one row each, and the law that any text compiles to an exact comparison.

use super::*;
use crate::fixture::{problems, rule, tables};
use crate::prepared::Prepared;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use weft_model::id::ServiceId;
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::route::Rule;

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.to_owned())
}

fn prefix(text: &str) -> StringMatch {
    StringMatch::Prefix(text.to_owned())
}

fn regex(text: &str) -> StringMatch {
    StringMatch::Regex(text.to_owned())
}

struct Ask {
    method: Method,
    raw: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    namespace: &'static str,
    labels: BTreeMap<String, String>,
    port: u16,
}

fn get(raw: &'static str) -> Ask {
    Ask {
        method: Method::GET,
        raw,
        headers: Vec::new(),
        namespace: "shop",
        labels: BTreeMap::new(),
        port: 9080,
    }
}

fn with(raw: &'static str, headers: &[(&'static str, &'static str)]) -> Ask {
    Ask {
        headers: headers.to_vec(),
        ..get(raw)
    }
}

/// The name of the rule that decides, `-` for none, `implicit` without rules.
fn decided(rules: Option<Vec<Rule>>, ask: &Ask) -> String {
    let prepared = Prepared::build(None, &tables(rules, Vec::new()), 1);
    let mut headers = HeaderMap::new();
    for (name, value) in &ask.headers {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let target =
        RequestTarget::parse(&ask.method, ask.raw.as_bytes(), Some(b"Reviews.Shop:9080")).unwrap();
    let client = Client {
        namespace: ask.namespace,
        labels: &ask.labels,
    };
    let request = RequestView {
        method: &ask.method,
        target: &target,
        headers: &headers,
        scheme: "http",
    };
    match route(
        prepared.service(ServiceId(1)).unwrap(),
        ask.port,
        &client,
        &request,
    ) {
        Choice::Implicit => "implicit".to_owned(),
        Choice::Rule { rule, .. } => rule.id.rule.clone(),
        Choice::NoRoute => "-".to_owned(),
    }
}

fn one(block: RequestMatch) -> Option<Vec<Rule>> {
    Some(vec![Rule {
        matches: vec![block],
        ..rule("hit")
    }])
}

fn hits(block: RequestMatch, ask: &Ask) -> bool {
    decided(one(block), ask) == "hit"
}

fn path(condition: StringMatch) -> RequestMatch {
    RequestMatch {
        path: Some(condition),
        ..Default::default()
    }
}

fn header(name: &str, condition: StringMatch) -> RequestMatch {
    RequestMatch {
        headers: BTreeMap::from([(name.to_owned(), condition)]),
        ..Default::default()
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = vec![
        Rule {
            matches: vec![header("end-user", exact("jason"))],
            ..rule("v2")
        },
        Rule {
            matches: vec![path(prefix("/a")), path(prefix("/b"))],
            ..rule("ab")
        },
        Rule {
            matches: vec![path(exact("/a"))],
            ..rule("never")
        },
    ];
    assert_eq!(
        decided(Some(rules.clone()), &with("/a", &[("end-user", "jason")])),
        "v2"
    );
    assert_eq!(decided(Some(rules.clone()), &get("/a")), "ab");
    assert_eq!(decided(Some(rules.clone()), &get("/b/x")), "ab");
    assert_eq!(decided(Some(rules.clone()), &get("/c")), "-");
    let catch_all = [rules, vec![rule("rest")]].concat();
    assert_eq!(decided(Some(catch_all), &get("/c")), "rest");
    assert_eq!(decided(None, &get("/c")), "implicit");
    assert_eq!(decided(Some(Vec::new()), &get("/c")), "-");
}

#[test]
fn paths() {
    for (condition, raw, wanted) in [
        (prefix("/neu"), "/neu", true),
        (prefix("/neu"), "/neuland", true),
        (prefix("/neu"), "/Neu", false),
        (prefix("/neu"), "/ne", false),
        (
            StringMatch::PathPrefix("/neu".to_owned()),
            "/neuland",
            false,
        ),
        (StringMatch::PathPrefix("/neu/".to_owned()), "/neu", true),
        (StringMatch::PathPrefix("/neu".to_owned()), "/neu/x", true),
        (StringMatch::PathPrefix("/".to_owned()), "/anything", true),
        (exact("/a"), "/a?b=c", true),
        (exact("/a"), "/a/", false),
        (exact("/a"), "/%61", true),
        (exact("/a"), "/b/../a", true),
        (regex("/[a-z]+/v[0-9]"), "/reviews/v2", true),
        (regex("/[a-z]+/v[0-9]"), "/reviews/v2/x", false),
        (regex("/v.*"), "/v", true),
        (StringMatch::Present, "/", true),
    ] {
        assert_eq!(
            hits(path(condition.clone()), &get(raw)),
            wanted,
            "{condition:?} on {raw}"
        );
    }
    let folded = |condition| RequestMatch {
        ignore_path_case: true,
        ..path(condition)
    };
    assert!(
        hits(folded(prefix("/NEU")), &get("/neu/x")) && hits(folded(exact("/neu")), &get("/NEU"))
    );
    assert!(
        !hits(folded(regex("/neu[0-9]")), &get("/NEU1")),
        "ignoreUriCase leaves patterns alone"
    );
}

#[test]
fn request_line_and_client() {
    let method = |condition| RequestMatch {
        method: Some(condition),
        ..Default::default()
    };
    assert!(hits(method(exact("GET")), &get("/")) && !hits(method(exact("get")), &get("/")));
    let authority = |condition| RequestMatch {
        authority: Some(condition),
        ..Default::default()
    };
    assert!(
        hits(authority(exact("Reviews.shop:9080")), &get("/"))
            && !hits(authority(exact("reviews.shop")), &get("/"))
    );
    assert!(
        hits(authority(prefix("reviews.")), &get("/"))
            && hits(header(":authority", prefix("reviews")), &get("/"))
    );
    assert!(
        hits(header("host", regex("reviews\\..*")), &get("/"))
            && hits(header(":method", exact("GET")), &get("/"))
    );
    let scheme = |text: &str| RequestMatch {
        scheme: Some(exact(text)),
        ..Default::default()
    };
    assert!(hits(scheme("HTTP"), &get("/")) && !hits(scheme("https"), &get("/")));
    let port = |port| RequestMatch {
        port: Some(port),
        ..Default::default()
    };
    assert!(hits(port(9080), &get("/")) && !hits(port(80), &get("/")));
    let from = |namespace: &str| RequestMatch {
        source_namespace: Some(namespace.to_owned()),
        ..Default::default()
    };
    assert!(hits(from("shop"), &get("/")) && !hits(from("other"), &get("/")));
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let labelled = RequestMatch {
        source_labels: labels.clone(),
        ..Default::default()
    };
    assert!(!hits(labelled.clone(), &get("/")));
    assert!(hits(labelled, &Ask { labels, ..get("/") }));
}

#[test]
fn headers() {
    let jason = || header("end-user", exact("jason"));
    assert!(hits(jason(), &with("/", &[("end-user", "jason")])));
    assert!(!hits(jason(), &with("/", &[("end-user", "Jason")])) && !hits(jason(), &get("/")));
    let twice = with("/", &[("x", "a"), ("x", "b")]);
    assert!(hits(header("x", exact("a,b")), &twice) && hits(header("x", regex("a,.*")), &twice));
    assert!(!hits(header("x", exact("a")), &twice) && !hits(header("x", exact("b")), &twice));
    let crumbs = with("/", &[("cookie", "a=1"), ("cookie", "user=jason")]);
    assert!(hits(
        header("cookie", regex("^(.*?;)?\\s*(user=jason)(;.*)?$")),
        &crumbs
    ));
    assert!(
        hits(header("x", StringMatch::Present), &with("/", &[("x", "")]))
            && !hits(header("x", StringMatch::Present), &get("/"))
    );
    let without = |condition| RequestMatch {
        without_headers: BTreeMap::from([("x".to_owned(), condition)]),
        ..Default::default()
    };
    assert!(
        hits(without(exact("1")), &get("/"))
            && hits(without(exact("1")), &with("/", &[("x", "2")]))
    );
    assert!(
        !hits(without(exact("1")), &with("/", &[("x", "1")]))
            && !hits(without(StringMatch::Present), &with("/", &[("x", "2")]))
    );
}

#[test]
fn query_parameters() {
    let query = |name: &str, condition| RequestMatch {
        query: BTreeMap::from([(name.to_owned(), condition)]),
        ..Default::default()
    };
    for (name, condition, raw, wanted) in [
        ("v", exact("2"), "/?v=2", true),
        ("v", exact("2"), "/?a=1&v=2", true),
        ("v", exact("2"), "/?v=1&v=2", false),
        ("v", exact("2"), "/?w=2", false),
        ("v", exact("2"), "/", false),
        ("v", exact("a b"), "/?v=a%20b", true),
        ("v", exact("a+b"), "/?v=a+b", true),
        ("v", exact("100%"), "/?v=100%", true),
        ("v", exact("%zz"), "/?v=%zz", true),
        ("a b", exact("1"), "/?a%20b=1", true),
        ("v", exact(""), "/?v", true),
        ("v", StringMatch::Present, "/?v=", true),
        ("v", StringMatch::Present, "/?&vv=", false),
        ("v", regex("[0-9]+"), "/?v=%31", true),
    ] {
        assert_eq!(
            hits(query(name, condition.clone()), &get(raw)),
            wanted,
            "{name} {condition:?} on {raw}"
        );
    }
}

#[test]
fn a_condition_that_cannot_be_prepared_matches_nothing_and_is_named() {
    assert!(!hits(path(regex("(")), &get("/(")));
    assert!(!hits(header("bad name", StringMatch::Present), &get("/")));
    let found =
        problems(|rule| rule.matches = vec![path(regex("(")), header("bad name", exact("x"))]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("shop/vs path: regex \"(\" is not used and matches nothing"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("shop/vs headers bad name: "),
        "{found:?}"
    );
}

proptest! {
    #[test]
    fn any_text_is_compared_literally(text in "\\PC{0,20}", other in "\\PC{0,20}") {
        let ask = |value: &str| {
            let prepared = Prepared::build(None, &tables(one(header("x", exact(&text))), Vec::new()), 1);
            let mut headers = HeaderMap::new();
            headers.insert("x", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let target = RequestTarget::parse(&Method::GET, b"/", None).unwrap();
            let labels = BTreeMap::new();
            let client = Client { namespace: "shop", labels: &labels };
            let request = RequestView { method: &Method::GET, target: &target, headers: &headers, scheme: "http" };
            matches!(route(prepared.service(ServiceId(1)).unwrap(), 9080, &client, &request), Choice::Rule { .. })
        };
        prop_assert!(ask(&text));
        prop_assert_eq!(ask(&other), other == text);
    }

    #[test]
    fn any_pattern_is_prepared_without_panic(pattern in "[a-z(|)\\[\\]{}*+?.^$\\\\x:#]{0,12}") {
        let prepared = Prepared::build(None, &tables(one(header("x", regex(&pattern))), Vec::new()), 1);
        prop_assert!(prepared.problems().count() <= 1);
    }
}
