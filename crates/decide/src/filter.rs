//! Header changes of a rule, checked once and then applied without allocation.
//!
//! What frames or routes the message hop by hop cannot be changed by policy: a rule that sets `content-length` would be
//! request smuggling by configuration. Such lines are reported and skipped.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weft_model::route::HeaderOps;

/// Headers that belong to the connection or the framing of the body.
const RESERVED: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];
/// The same, for names that have no constant.
const RESERVED_NAMES: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// Header changes that can be applied as they are.
#[derive(Debug, Default)]
pub struct PreparedHeaderOps {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    authority: Option<String>,
}

/// What a name in a rule stands for.
enum Name {
    Header(HeaderName),
    Authority,
}

impl PreparedHeaderOps {
    pub(crate) fn new(ops: &HeaderOps, place: &str, report: &mut dyn FnMut(&str, String)) -> Self {
        let mut remove = Vec::new();
        for name in &ops.remove {
            match judge(name) {
                Ok(Name::Header(name)) => remove.push(name),
                Ok(Name::Authority) => report(
                    &format!("{place} remove {name}"),
                    "not applied: a request needs an authority".to_owned(),
                ),
                Err(why) => report(&format!("{place} remove {name}"), why),
            }
        }
        let mut authority = None;
        let mut lines = |verb: &str, list: &[(String, String)]| {
            let mut lines = Vec::new();
            for (name, value) in list {
                let place = format!("{place} {verb} {name}");
                match (judge(name), HeaderValue::from_str(value)) {
                    (Err(why), _) => report(&place, why),
                    (_, Err(_)) => report(
                        &place,
                        "not applied: the value holds control characters; remove them".to_owned(),
                    ),
                    (Ok(Name::Authority), _) => authority = Some(value.clone()),
                    (Ok(Name::Header(name)), Ok(value)) => lines.push((name, value)),
                }
            }
            lines.into_boxed_slice()
        };
        let set = lines("set", &ops.set);
        let add = lines("add", &ops.add);
        Self {
            remove: remove.into_boxed_slice(),
            set,
            add,
            authority,
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.set.is_empty()
            && self.add.is_empty()
            && self.authority.is_none()
    }

    /// Applies the changes in the order remove, set, add. Returns the authority to use from now on, where the rule
    /// sets one; it goes through `RequestTarget::set_authority`, which judges it.
    pub fn apply(&self, headers: &mut HeaderMap) -> Option<&str> {
        for name in &self.remove {
            headers.remove(name);
        }
        // A map is full at 32,768 lines; heads are limited to far fewer, and a full map must not end the worker.
        for (name, value) in &self.set {
            let _full = headers.try_insert(name, value.clone());
        }
        for (name, value) in &self.add {
            let _full = headers.try_append(name, value.clone());
        }
        self.authority.as_deref()
    }
}

/// What a name stands for, or why a rule may not touch it.
fn judge(name: &str) -> Result<Name, String> {
    if name.eq_ignore_ascii_case("host") || name == ":authority" {
        return Ok(Name::Authority);
    }
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "not applied: not a valid header name; correct it".to_owned())?;
    if RESERVED.contains(&parsed) || RESERVED_NAMES.contains(&parsed.as_str()) {
        return Err(
            "not applied: this header belongs to the connection and cannot be changed by a rule"
                .to_owned(),
        );
    }
    Ok(Name::Header(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(ops: &HeaderOps) -> (PreparedHeaderOps, Vec<String>) {
        let mut problems = Vec::new();
        let prepared = PreparedHeaderOps::new(ops, "request headers", &mut |place, why| {
            problems.push(format!("{place}: {why}"))
        });
        (prepared, problems)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn remove_then_set_then_add() {
        let ops = HeaderOps {
            remove: vec!["x-old".to_owned(), "x-both".to_owned()],
            set: pairs(&[("x-both", "set"), ("x-kept", "new")]),
            add: pairs(&[("x-both", "added"), ("host", "other.example")]),
        };
        let (prepared, problems) = prepare(&ops);
        assert!(problems.is_empty() && !prepared.is_empty());
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-old", "1"),
            ("x-both", "0"),
            ("x-kept", "a"),
            ("x-kept", "b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(prepared.apply(&mut headers), Some("other.example"));
        assert_eq!(
            lines(&headers),
            pairs(&[("x-kept", "new"), ("x-both", "set"), ("x-both", "added")])
        );
    }

    #[test]
    fn framing_cannot_be_changed_and_mistakes_are_named() {
        let ops = HeaderOps {
            remove: vec!["Host".to_owned(), "bad name".to_owned()],
            set: pairs(&[
                ("Content-Length", "0"),
                ("x-a", "line\r\nbreak"),
                (":path", "/"),
            ]),
            add: pairs(&[("Transfer-Encoding", "chunked"), ("keep-alive", "x")]),
        };
        let (prepared, problems) = prepare(&ops);
        assert!(prepared.is_empty());
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(
            problems
                .iter()
                .all(|problem| problem.contains("not applied"))
        );
    }

    #[test]
    fn nothing_to_do_is_empty() {
        assert!(prepare(&HeaderOps::default()).0.is_empty());
    }
}
