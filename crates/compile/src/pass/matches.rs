//! Conditions of a rule: Istio's `match` to the tables' `RequestMatch`.
//!
//! A match of which any condition cannot be used never holds: ignoring the condition would let it match more.

use std::collections::BTreeMap;

use weft_k8s::istio::{self, HttpMatch};
use weft_model::matcher::{RequestMatch, StringMatch};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::{expression, header, target};

/// Words that Istio takes no header conditions for, because they have fields of their own.
const NOT_HEADERS: [&str; 4] = ["uri", "scheme", "method", "authority"];
/// Names that stand for parts of the request's head, as in HTTP/2.
const PSEUDO: [&str; 4] = [":authority", ":method", ":path", ":scheme"];

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
    reader.never(&lowered);
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
            (None, None, Some(regex)) => match expression::whole(regex) {
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
            if NOT_HEADERS.contains(&text.as_str()) {
                let message = format!("{text} is no header; use the field {text} of the match");
                self.unusable::<()>(&field, &message);
                continue;
            }
            let name = if PSEUDO.contains(&text.as_str()) {
                Ok(text.clone())
            } else {
                header::name(text)
            };
            match name {
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

    /// Findings about conditions that are valid and yet hold for no request.
    fn never(&mut self, lowered: &RequestMatch) {
        let why = match &lowered.path {
            Some(StringMatch::Exact(text)) => target::never(text, true),
            Some(StringMatch::Prefix(text)) => target::never(text, false),
            _ => None,
        };
        let small = |text: &String| text.bytes().any(|byte| byte.is_ascii_lowercase());
        let method = match &lowered.method {
            Some(StringMatch::Exact(text)) if small(text) => Some(format!(
                "methods are in capitals; write {}",
                text.to_ascii_uppercase()
            )),
            _ => None,
        };
        let scheme = match &lowered.scheme {
            Some(StringMatch::Exact(text)) if text != "http" && text != "https" => {
                Some("a scheme is http or https".to_owned())
            }
            _ => None,
        };
        for (part, why) in [("uri", why), ("method", method), ("scheme", scheme)] {
            if let Some(why) = why {
                self.findings.add(
                    Code::NeverMatches,
                    self.subject,
                    &format!("{}.{part}", self.field),
                    why,
                );
            }
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
