//! Authorities and paths that a rule writes, checked by the type that the proxy keeps its requests in.

use http::Method;
use weft_model::target::RequestTarget;

/// Whether the text is `host` or `host:port`.
pub(crate) fn authority(text: &str) -> Result<(), String> {
    let result = some_target().map(|mut target| target.set_authority(text));
    match result {
        Some(Ok(())) if !text.is_empty() => Ok(()),
        _ => Err(format!(
            "\"{text}\" is no host; write a name or address, with :port if need be"
        )),
    }
}

/// Whether the text can stand in a path.
pub(crate) fn path(text: &str) -> Result<(), String> {
    let absolute = if text.starts_with('/') {
        text.to_owned()
    } else {
        format!("/{text}")
    };
    match canonical(&absolute) {
        Some(_) => Ok(()),
        None => Err(format!(
            "\"{text}\" is no path; encode spaces and other special characters as %20 and so on"
        )),
    }
}

/// Why no path can ever equal the text (or begin with it), if so: requests are compared in their canonical form.
pub(crate) fn never(text: &str, whole: bool) -> Option<String> {
    if !text.starts_with('/') {
        return (whole || !text.is_empty())
            .then(|| format!("every path begins with /, so write /{text}"));
    }
    if text.contains('?') {
        return Some("a path has no query; use queryParams for what follows the ?".to_owned());
    }
    let encode = || "paths have no such characters; encode them as %20 and so on".to_owned();
    match canonical(text) {
        None => Some(encode()),
        Some(other) if whole && other != text => {
            Some(format!("such a path is compared as {other}; write that"))
        }
        Some(_) => None,
    }
}

fn canonical(path: &str) -> Option<String> {
    let mut target = some_target()?;
    target.set_path_and_query(path).ok()?;
    Some(target.path_and_query().to_owned())
}

fn some_target() -> Option<RequestTarget> {
    RequestTarget::parse(&Method::GET, b"/", Some(b"host")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_match_is_explained() {
        for right in ["/", "/a", "/a/b.c", "/a%20b", "/a/"] {
            assert_eq!(never(right, true), None, "{right}");
            assert_eq!(never(right, false), None, "{right}");
        }
        assert_eq!(never("", false), None);
        for wrong in ["", "a", "/a?b=c", "/a b", "/a/../b", "/%61"] {
            assert!(never(wrong, true).is_some(), "{wrong}");
        }
        for wrong in ["a", "/a?b", "/ä"] {
            assert!(never(wrong, false).is_some(), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_told_from_other_text() {
        for right in ["a", "a.b.example", "a:80", "10.0.0.1", "[fd00::1]:80"] {
            assert_eq!(authority(right), Ok(()), "{right}");
        }
        for wrong in ["", "a b", "a:b", "http://a", "a/b", "%REQ(host)%"] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }
}
