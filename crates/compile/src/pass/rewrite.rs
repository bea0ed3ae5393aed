//! Rewrites of path and authority. One that is not valid is never left out in silence: the path that its author did not
//! want must not be sent.

use weft_k8s::istio::HttpRewrite;
use weft_model::route::{PathRewrite, Rewrite};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::{expression, target};

/// What is said of a part that is not valid: the path that the author did not want must not be sent instead.
const REFUSED: &str = "until then what the rule matches is answered with 503";

/// The rewrite, or `Err` when it is not valid. `forwards`: whether the rule sends the request anywhere.
pub(crate) fn lower(
    given: &HttpRewrite,
    forwards: bool,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Result<Option<Rewrite>, ()> {
    let field = format!("{field}.rewrite");
    let mut valid = true;
    let mut add = |part: &str, message: String| {
        findings.add(
            Code::InvalidRewrite,
            subject,
            &format!("{field}{part}"),
            message,
        );
    };
    if !forwards {
        add(
            "",
            "a rewrite beside redirect or directResponse has no effect".to_owned(),
        );
        return Ok(None);
    }
    let mut check = |part: &str, result: Result<(), String>| {
        if let Err(message) = result {
            add(part, format!("{message}; {REFUSED}"));
            valid = false;
        }
    };
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let (uri, authority) = (text(&given.uri), text(&given.authority));
    if let Some(uri) = &uri {
        check(".uri", target::path(uri));
    }
    if let Some(authority) = &authority {
        check(".authority", target::authority(authority));
    }
    let mut path = uri.map(PathRewrite::Matched);
    if let Some(by) = &given.uri_regex_rewrite {
        check(
            ".uriRegexRewrite",
            expression::substitution(&by.pattern, &by.rewrite),
        );
        if path.is_some() {
            add(
                "",
                "uri and uriRegexRewrite exclude each other; uri is used".to_owned(),
            );
        } else {
            path = Some(PathRewrite::Regex {
                pattern: by.pattern.clone(),
                substitution: by.rewrite.clone(),
            });
        }
    }
    let rewrite = (path.is_some() || authority.is_some()).then_some(Rewrite { path, authority });
    if valid { Ok(rewrite) } else { Err(()) }
}
