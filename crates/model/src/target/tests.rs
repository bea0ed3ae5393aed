//! The canonical forms and refusals of [`RequestTarget`], as tables and as laws.

use super::*;
use proptest::prelude::*;

fn path(raw: &str) -> Result<String, TargetError> {
    RequestTarget::parse(&Method::GET, raw.as_bytes(), Some(b"a"))
        .map(|t| t.path_and_query().to_owned())
}

#[test]
fn paths_follow_istio_base() {
    for (raw, want) in [
        ("/", "/"),
        ("/a/b?c=d", "/a/b?c=d"),
        ("/a/../b", "/b"),
        ("/a/./b/", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a//b", "/a//b"),
        ("/a//../b", "/a/b"),
        ("/a\\..\\b", "/b"),
        ("/\\b", "//b"),
        ("/%61%2e%2E/x", "/a../x"),
        ("/a/%2e%2e/b", "/b"),
        ("/a%2fb%5c", "/a%2Fb%5C"),
        ("/%7e%41", "/~A"),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a?x=/../%zz\\", "/a?x=/../%zz\\"),
        ("/a?", "/a?"),
        ("/a;b=c/..;/d", "/a;b=c/..;/d"),
    ] {
        assert_eq!(path(raw).as_deref(), Ok(want), "{raw}");
    }
}

#[test]
fn paths_that_hide_something_are_refused() {
    for (raw, want) in [
        ("/..", TargetError::AboveRoot),
        ("/a/../../b", TargetError::AboveRoot),
        ("/%2e%2e/", TargetError::AboveRoot),
        ("/%", TargetError::Escape),
        ("/%4", TargetError::Escape),
        ("/%g0", TargetError::Escape),
        ("/%+1", TargetError::Escape),
        ("/a%00", TargetError::Escape),
        ("/a#b", TargetError::Fragment),
        ("/a?b#c", TargetError::Fragment),
        ("/a b", TargetError::Byte),
        ("/\u{e9}", TargetError::Byte),
        ("/a?\u{7f}", TargetError::Byte),
        ("/\t", TargetError::Byte),
        ("a", TargetError::Form),
        ("", TargetError::Form),
        ("*", TargetError::Form),
        ("ftp://a/", TargetError::Scheme),
    ] {
        assert_eq!(path(raw), Err(want), "{raw}");
    }
}

#[test]
fn rewrites_are_made_canonical_again_and_change_nothing_on_error() {
    let mut target = RequestTarget::parse(&Method::GET, b"/a?b", Some(b"H.Example.:80")).unwrap();
    assert_eq!(
        (target.authority(), target.host(), target.port()),
        ("h.example:80", "h.example", Some(80))
    );
    assert_eq!(
        target.set_path_and_query("../admin"),
        Err(TargetError::Form)
    );
    assert_eq!(
        target.set_path_and_query("/x/%2e%2e/../y"),
        Err(TargetError::AboveRoot)
    );
    assert_eq!(target.set_authority("a b"), Err(TargetError::Host));
    assert_eq!(
        (target.path(), target.query(), target.authority()),
        ("/a", Some("b"), "h.example:80")
    );
    target.set_path_and_query("/api/%2e%2e/y?z").unwrap();
    target.set_authority("B").unwrap();
    assert_eq!(
        (target.path_and_query(), target.path(), target.authority()),
        ("/y?z", "/y", "b")
    );
}

proptest! {
    #[test]
    fn canonical_is_canonical(raw in "/[a-c./%2eEfF5\\\\?;=]{0,24}") {
        if let Ok(once) = path(&raw) {
            prop_assert_eq!(path(&once), Ok(once.clone()));
            let segments = once.split('?').next().unwrap_or_default().split('/');
            prop_assert!(segments.into_iter().all(|s| s != "." && s != ".."));
        }
    }

    #[test]
    fn authorities_are_canonical(raw in "[a-cA-C.:0-9\\[\\]%@_]{0,16}") {
        if let Ok(once) = Authority::parse(raw.as_bytes()) {
            prop_assert_eq!(Authority::parse(once.text.as_bytes()), Ok(once));
        }
    }

    #[test]
    fn any_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..64), host in any::<Option<Vec<u8>>>()) {
        for method in [Method::GET, Method::CONNECT, Method::OPTIONS] {
            if let Ok(t) = RequestTarget::parse(&method, &raw, host.as_deref()) {
                let visible = |s: &str| s.bytes().all(|b| (0x21..0x7f).contains(&b));
                prop_assert!(visible(t.authority()) && visible(t.path_and_query()));
            }
        }
    }
}
