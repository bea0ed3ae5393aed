//! Conditions of a rule: Istio's `match` to the tables' `RequestMatch`.
//!
//! A match of which any condition cannot be used never holds: ignoring the condition would let it match more.

use std::collections::BTreeMap;

use weft_k8s::istio::{self, HttpMatch};
use weft_model::matcher::{RequestMatch, StringMatch};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::header;

/// Longest regular expression that is taken, in bytes.
pub(crate) const MAX_REGEX_BYTES: usize = 1024;
/// Largest compiled regular expression, in bytes; the proxy compiles each once.
pub(crate) const MAX_REGEX_PROGRAM: usize = 1024 * 1024;

/// Words that Istio takes no header conditions for, because they have fields of their own.
const NOT_HEADERS: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// Checks an expression as the proxy will use it, anchored at both ends.
pub(crate) fn expression(pattern: &str) -> Result<(), String> {
    if pattern.len() > MAX_REGEX_BYTES {
        return Err(format!(
            "the expression has {} bytes, more than {MAX_REGEX_BYTES}; shorten it",
            pattern.len()
        ));
    }
    let built = regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(MAX_REGEX_PROGRAM)
        .build();
    built.map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let reason = reason.trim().trim_start_matches("error: ");
        let hint = if pattern.starts_with('*') {
            "; for any text write .*"
        } else {
            ""
        };
        format!("\"{pattern}\" is no regular expression (RE2): {reason}{hint}")
    })
}

/// Whether gateways, when given, include the traffic inside the mesh.
pub(crate) fn includes_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh")
}

/// The conditions, or nothing when the match never holds inside the mesh; then there is a finding.
pub(crate) fn lower(
    given: &HttpMatch,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Option<RequestMatch> {
    if !includes_mesh(&given.gateways) {
        let field = format!("{field}.gateways");
        findings.add(
            Code::OnlyGateways,
            subject,
            &field,
            "the match is for gateways only; it never holds in the mesh",
        );
        return None;
    }
    let mut reader = Reader {
        field,
        subject,
        findings,
        usable: true,
    };
    let lowered = RequestMatch {
        name: given.name.clone(),
        path: reader.text(given.uri.as_ref(), "uri"),
        ignore_path_case: given.ignore_uri_case,
        scheme: reader.text(given.scheme.as_ref(), "scheme"),
        method: reader.text(given.method.as_ref(), "method"),
        authority: reader
            .text(given.authority.as_ref(), "authority")
            .map(lower_case),
        headers: reader.headers(&given.headers, "headers"),
        without_headers: reader.headers(&given.without_headers, "withoutHeaders"),
        query: reader.query(&given.query_params),
        port: reader.port(given.port),
        source_labels: given.source_labels.clone(),
        source_namespace: Some(given.source_namespace.clone())
            .filter(|namespace| !namespace.is_empty()),
    };
    reader.usable.then_some(lowered)
}

/// Hosts are compared in lower case; expressions stay as they are.
fn lower_case(text: StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_ascii_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_ascii_lowercase()),
        StringMatch::PathPrefix(text) => StringMatch::PathPrefix(text.to_ascii_lowercase()),
        other @ (StringMatch::Regex(_) | StringMatch::Present) => other,
    }
}

struct Reader<'a> {
    field: &'a str,
    subject: Subject<'a>,
    findings: &'a mut Findings,
    usable: bool,
}

impl Reader<'_> {
    /// A condition on a part that every request has: without a comparison it asks for nothing.
    fn text(&mut self, given: Option<&istio::StringMatch>, part: &str) -> Option<StringMatch> {
        self.comparison(given?, part)
            .filter(|lowered| *lowered != StringMatch::Present)
    }

    fn comparison(&mut self, given: &istio::StringMatch, part: &str) -> Option<StringMatch> {
        match (&given.exact, &given.prefix, &given.regex) {
            (None, None, None) => Some(StringMatch::Present),
            (Some(exact), None, None) => Some(StringMatch::Exact(exact.clone())),
            (None, Some(prefix), None) => Some(StringMatch::Prefix(prefix.clone())),
            (None, None, Some(regex)) => match expression(regex) {
                Ok(()) => Some(StringMatch::Regex(regex.clone())),
                Err(message) => self.unusable(&format!("{part}.regex"), &message),
            },
            _ => self.unusable(part, "write one of exact, prefix and regex, not several"),
        }
    }

    fn headers(
        &mut self,
        given: &BTreeMap<String, istio::StringMatch>,
        part: &str,
    ) -> BTreeMap<String, StringMatch> {
        let mut lowered = BTreeMap::new();
        for (text, comparison) in given {
            let field = format!("{part}[\"{text}\"]");
            let pseudo = text.strip_prefix(':').unwrap_or(text);
            if NOT_HEADERS.contains(&pseudo) || pseudo == "path" && text.starts_with(':') {
                let own = if pseudo == "path" { "uri" } else { pseudo };
                self.unusable::<()>(
                    &field,
                    &format!("{text} is no header; use the field {own} of the match"),
                );
                continue;
            }
            match header::name(text) {
                Ok(name) => {
                    if let Some(comparison) = self.comparison(comparison, &field) {
                        lowered.insert(name, comparison);
                    }
                }
                Err(message) => drop(self.unusable::<()>(&field, &message)),
            }
        }
        lowered
    }

    fn query(
        &mut self,
        given: &BTreeMap<String, istio::StringMatch>,
    ) -> BTreeMap<String, StringMatch> {
        let mut lowered = BTreeMap::new();
        for (name, comparison) in given {
            if let Some(comparison) =
                self.comparison(comparison, &format!("queryParams[\"{name}\"]"))
            {
                lowered.insert(name.clone(), comparison);
            }
        }
        lowered
    }

    fn port(&mut self, given: Option<u32>) -> Option<u16> {
        match u16::try_from(given?).ok().filter(|port| *port > 0) {
            None => self.unusable("port", "port numbers go from 1 to 65535"),
            port => port,
        }
    }

    fn unusable<T>(&mut self, part: &str, message: &str) -> Option<T> {
        self.usable = false;
        let field = format!("{}.{part}", self.field);
        self.findings.add(
            Code::InvalidMatch,
            self.subject,
            &field,
            format!("{message}; until then the match never holds"),
        );
        None
    }
}
