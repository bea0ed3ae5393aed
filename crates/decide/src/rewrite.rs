//! Rewrites of a request's target and the location of redirects.
//!
//! All results pass through [`RequestTarget`]'s own checks, so a rewrite cannot build what a client may not send. A
//! rewrite that cannot be prepared or applied fails the request; it is never left out.

use http::StatusCode;
use regex::bytes::Regex;
use weft_model::reason::Reason;
use weft_model::route::{PathRewrite, Redirect, RedirectPort, Rewrite};
use weft_model::target::RequestTarget;

use crate::matcher::{Kind, PreparedMatch};
use crate::policy::PreparedRule;
use crate::regexp;

/// Longest path that a pattern's substitution may build, in bytes.
pub const MAX_REWRITTEN: usize = 64 * 1024;

/// A prepared rewrite.
#[derive(Debug)]
pub(crate) struct PreparedRewrite {
    path: Option<NewPath>,
    authority: Option<String>,
}

/// A prepared redirect.
#[derive(Debug)]
pub struct PreparedRedirect {
    scheme: Option<String>,
    authority: Option<String>,
    port: Option<RedirectPort>,
    path: Option<NewPath>,
    status: StatusCode,
}

/// How a path is made from the request's.
#[derive(Debug)]
enum NewPath {
    /// Replaces what the match named.
    Matched(String),
    /// Replaces the whole path.
    Full(String),
    /// Replaces what a pattern finds.
    Regex { pattern: Regex, parts: Box<[Part]> },
    /// The pattern or its substitution is broken.
    Broken,
}

/// A piece of a substitution.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl PreparedRewrite {
    pub(crate) fn new(rewrite: &Rewrite, report: &mut dyn FnMut(&str, String)) -> Self {
        Self {
            path: rewrite.path.as_ref().map(|path| NewPath::new(path, report)),
            authority: rewrite.authority.clone(),
        }
    }
}

impl PreparedRedirect {
    pub(crate) fn new(redirect: &Redirect, report: &mut dyn FnMut(&str, String)) -> Self {
        let visible = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        let mut part = |place: &str, text: &Option<String>| {
            if text.as_ref().is_some_and(|text| !visible(text)) {
                report(
                    place,
                    "not applied: only visible ASCII may stand in a location".to_owned(),
                );
            }
            text.clone().filter(visible)
        };
        let scheme = part("redirect scheme", &redirect.scheme);
        let authority = part("redirect authority", &redirect.authority);
        let status = StatusCode::from_u16(redirect.status)
            .ok()
            .filter(StatusCode::is_redirection)
            .unwrap_or_else(|| {
                report(
                    "redirect status",
                    format!("{} is no redirection; 301 is sent", redirect.status),
                );
                StatusCode::MOVED_PERMANENTLY
            });
        let path = redirect
            .path
            .as_ref()
            .map(|path| NewPath::new(path, report));
        Self {
            scheme,
            authority,
            port: redirect.port,
            path,
            status,
        }
    }
}

/// Applies the rule's rewrite of authority and path; a rule without one changes nothing.
///
/// # Errors
/// `NoRoute` where the rule's pattern is broken, `BadRequest` where the result is no valid target.
pub fn rewrite(
    target: &mut RequestTarget,
    rule: &PreparedRule,
    matched: Option<&PreparedMatch>,
) -> Result<(), Reason> {
    let Some(rewrite) = &rule.rewrite else {
        return Ok(());
    };
    if let Some(path) = &rewrite.path {
        let path = path.apply(target, matched)?;
        target
            .set_path_and_query(&with_query(path, target))
            .map_err(|_| Reason::BadRequest)?;
    }
    if let Some(authority) = &rewrite.authority {
        target
            .set_authority(authority)
            .map_err(|_| Reason::BadRequest)?;
    }
    Ok(())
}

/// Status and location of a redirect. `port` is the one that the client dialled, `scheme` the one it used.
///
/// # Errors
/// As [`rewrite`].
pub fn redirect(
    redirect: &PreparedRedirect,
    target: &RequestTarget,
    matched: Option<&PreparedMatch>,
    port: u16,
    scheme: &str,
) -> Result<(StatusCode, String), Reason> {
    let path = match &redirect.path {
        Some(path) => {
            // The target checks what the rewrite built: a location goes through other people's parsers.
            let mut next = target.clone();
            next.set_path_and_query(&with_query(path.apply(target, matched)?, target))
                .map_err(|_| Reason::BadRequest)?;
            next.path_and_query().to_owned()
        }
        None => target.path_and_query().to_owned(),
    };
    let new_scheme = redirect.scheme.as_deref().unwrap_or(scheme);
    let host = redirect
        .authority
        .as_deref()
        .unwrap_or_else(|| target.host());
    if host.is_empty() {
        // HTTP/1.0 without a host: relative, and never `//`, which a browser takes for a host.
        return Ok((
            redirect.status,
            format!("/{}", path.trim_start_matches('/')),
        ));
    }
    let number = match redirect.port {
        Some(RedirectPort::Number(number)) => Some(number),
        Some(RedirectPort::ProtocolDefault) => None,
        Some(RedirectPort::Request) => Some(port),
        // A new host stands for itself; the old host keeps its port unless that was only the old scheme's.
        None if redirect.authority.is_some() => None,
        None => target
            .port()
            .filter(|number| new_scheme == scheme || Some(*number) != default_port(scheme)),
    };
    let location = match number.filter(|number| Some(*number) != default_port(new_scheme)) {
        Some(number) => format!("{new_scheme}://{}:{number}{path}", bare_host(host)),
        None => format!("{new_scheme}://{host}{path}"),
    };
    Ok((redirect.status, location))
}

/// The host of `host[:port]`.
fn bare_host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The new path with the request's query, unless the new path brings its own.
fn with_query(mut path: String, target: &RequestTarget) -> String {
    if let (false, Some(query)) = (path.contains('?'), target.query()) {
        path.push('?');
        path.push_str(query);
    }
    path
}

impl NewPath {
    fn new(path: &PathRewrite, report: &mut dyn FnMut(&str, String)) -> Self {
        match path {
            PathRewrite::Matched(text) => Self::Matched(text.clone()),
            PathRewrite::Full(text) => Self::Full(text.clone()),
            PathRewrite::Regex {
                pattern,
                substitution,
            } => {
                let prepared = regexp::unanchored(pattern)
                    .and_then(|regex| Ok((parts(substitution, regex.captures_len())?, regex)));
                match prepared {
                    Ok((parts, pattern)) => Self::Regex { pattern, parts },
                    Err(why) => {
                        report(
                            "rewrite",
                            format!(
                                "regex {pattern:?} cannot be used, requests of this rule get 404: {why}"
                            ),
                        );
                        Self::Broken
                    }
                }
            }
        }
    }

    /// The new path; beginning with a slash, without the request's query.
    fn apply(
        &self,
        target: &RequestTarget,
        matched: Option<&PreparedMatch>,
    ) -> Result<String, Reason> {
        let path = target.path();
        let new = match self {
            Self::Full(text) => text.clone(),
            Self::Matched(text) => replace_matched(path, text, matched),
            Self::Regex { pattern, parts } => {
                substitute(path, pattern, parts).ok_or(Reason::BadRequest)?
            }
            Self::Broken => return Err(Reason::NoRoute),
        };
        Ok(if new.starts_with('/') {
            new
        } else {
            format!("/{new}")
        })
    }
}

/// Istio's `rewrite.uri`: the matched prefix is replaced by bytes; anything else but a prefix is replaced whole.
fn replace_matched(path: &str, text: &str, matched: Option<&PreparedMatch>) -> String {
    let (prefix, segments) = match matched
        .and_then(|block| block.path.as_ref())
        .map(|path| &path.kind)
    {
        // A route without a path condition matches the prefix `/`.
        None => (1, false),
        Some(Kind::Prefix(prefix)) => (prefix.len(), false),
        Some(Kind::PathPrefix(prefix)) => (prefix.len(), true),
        Some(Kind::Exact(_) | Kind::Regex(_) | Kind::Present | Kind::Never) => {
            return text.to_owned();
        }
    };
    let rest = path.get(prefix..).unwrap_or_default();
    if segments && rest.starts_with('/') {
        // Gateway API: one slash between the new prefix and the rest.
        return format!("{}{rest}", text.strip_suffix('/').unwrap_or(text));
    }
    format!("{text}{rest}")
}

/// Replaces every occurrence (RE2's GlobalReplace). None when the result is too long or no longer text.
fn substitute(path: &str, pattern: &Regex, parts: &[Part]) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut done = 0;
    for found in pattern.captures_iter(path.as_bytes()) {
        let whole = found.get(0)?;
        out.extend_from_slice(path.as_bytes().get(done..whole.start())?);
        for part in parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Group(group) => {
                    out.extend_from_slice(found.get(*group).map_or(&[][..], |at| at.as_bytes()))
                }
            }
        }
        if out.len() > MAX_REWRITTEN {
            return None;
        }
        done = whole.end();
    }
    out.extend_from_slice(path.as_bytes().get(done..)?);
    String::from_utf8(out).ok()
}

/// Splits an RE2 substitution: `\0` to `\9` are groups, `\\` is a backslash.
fn parts(substitution: &str, groups: usize) -> Result<Box<[Part]>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = substitution.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next() {
            Some('\\') => text.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit.to_digit(10).map_or(0, |digit| digit as usize);
                if group >= groups {
                    return Err(format!(
                        "the substitution names group {group}, the pattern has {}",
                        groups.saturating_sub(1)
                    ));
                }
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Group(group));
            }
            _ => {
                return Err(
                    r"in a substitution a backslash needs a digit or a backslash after it"
                        .to_owned(),
                );
            }
        }
    }
    parts.push(Part::Text(text));
    parts.retain(|part| *part != Part::Text(String::new()));
    Ok(parts.into_boxed_slice())
}

#[cfg(test)]
mod tests;
