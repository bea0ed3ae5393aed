//! One HTTPRoute's rules: each match becomes a rule of its own, because matches of one rule differ in precedence.
//!
//! A backend that does not resolve keeps its share, which is answered with 500; so is a rule with a filter that we do not
//! have: without the filter the request would not be what its author meant.

use weft_k8s::gateway::{
    BackendRef, Filter, HttpRouteRule, HttpRouteSpec, PathModifier, RouteMatch,
};
use weft_model::id::ObjectName;
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::reason::Reason;
use weft_model::retry::{DEFAULT_BACKOFF, RetryOn, RetryPolicy};
use weft_model::route::{
    Action, Backend, BackendTarget, HeaderOps, PathRewrite, Redirect, RedirectPort, Rewrite,
    RouteId, Rule,
};

use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::routes::tcp_ports;
use crate::pass::{expression, header, target};

/// Status of a redirect that names none.
const FOUND: u16 = 302;
/// Statuses that a redirect may have.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// Retries of a rule with a limit for each try: the transport's own.
const ATTEMPTS: u32 = 2;

/// All rules that can ever match, with their positions (rule and match).
pub(crate) fn lower(
    cluster: &Cluster<'_>,
    subject: Subject<'_>,
    spec: &HttpRouteSpec,
    findings: &mut Findings,
) -> Vec<((usize, usize), Rule)> {
    // What the API server fills in.
    let everything = [HttpRouteRule::default()];
    let rules = if spec.rules.is_empty() {
        &everything[..]
    } else {
        &spec.rules
    };
    let mut lowered = Vec::new();
    for (index, given) in rules.iter().enumerate() {
        let mut lowering = Lowering {
            cluster,
            subject,
            field: format!("spec.rules[{index}]"),
            findings,
        };
        let rule = lowering.rule(index, given);
        let everything = [RouteMatch::default()];
        let matches = if given.matches.is_empty() {
            &everything[..]
        } else {
            &given.matches
        };
        for (number, block) in matches.iter().enumerate() {
            if let Some(block) = lowering.block(block, number) {
                let rule = Rule {
                    matches: vec![block],
                    ..rule.clone()
                };
                lowered.push(((index, number), rule));
            }
        }
    }
    lowered
}

struct Lowering<'a, 'b> {
    cluster: &'b Cluster<'a>,
    subject: Subject<'b>,
    /// Path of the rule.
    field: String,
    findings: &'b mut Findings,
}

/// What a list of filters comes to.
#[derive(Default)]
struct Changes {
    request: HeaderOps,
    response: HeaderOps,
    redirect: Option<Redirect>,
    rewrite: Option<Rewrite>,
    /// A filter is not ours, or not valid.
    refused: bool,
}

impl Lowering<'_, '_> {
    /// The rule without its matches.
    fn rule(&mut self, index: usize, given: &HttpRouteRule) -> Rule {
        let changes = self.filters(&given.filters, &self.field.clone());
        let action = if changes.refused {
            Action::Forward(Vec::new())
        } else if let Some(redirect) = changes.redirect {
            Action::Redirect(redirect)
        } else {
            Action::Forward(self.backends(&given.backend_refs))
        };
        let limit = |limit: Option<weft_k8s::Duration>| {
            limit.map(|limit| limit.0).filter(|limit| !limit.is_zero())
        };
        let per_try = limit(given.timeouts.backend_request);
        Rule {
            id: RouteId {
                kind: self.subject.kind.to_owned(),
                object: ObjectName::new(&self.subject.name.namespace, &self.subject.name.name),
                rule: if given.name.is_empty() {
                    index.to_string()
                } else {
                    given.name.clone()
                },
            },
            matches: Vec::new(),
            action,
            unresolved: Reason::InvalidBackend,
            request: changes.request,
            response: changes.response,
            rewrite: changes.rewrite,
            timeout: limit(given.timeouts.request),
            retry: per_try.map(|limit| RetryPolicy {
                attempts: ATTEMPTS,
                per_try_timeout: Some(limit),
                backoff: DEFAULT_BACKOFF,
                on: RetryOn {
                    reasons: vec![Reason::UpstreamConnect, Reason::StreamRefused],
                    ..RetryOn::default()
                },
            }),
        }
    }

    fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.findings.add(code, self.subject, field, message);
    }

    /// The match, or nothing when a condition of it cannot be used; then there is a finding.
    fn block(&mut self, given: &RouteMatch, number: usize) -> Option<RequestMatch> {
        let field = format!("{}.matches[{number}]", self.field);
        let path = given.path.clone().unwrap_or_default();
        let path = match path.kind.as_str() {
            "Exact" => StringMatch::Exact(path.value),
            "PathPrefix" => StringMatch::PathPrefix(path.value),
            "RegularExpression" => self.regex(&path.value, &format!("{field}.path.value"))?,
            other => return self.unusable(&format!("{field}.path.type"), &format!("\"{other}\" is no kind of path match; write Exact, PathPrefix or RegularExpression")),
        };
        let mut block = RequestMatch {
            path: Some(path),
            method: given.method.clone().map(StringMatch::Exact),
            ..RequestMatch::default()
        };
        for (index, condition) in given.headers.iter().enumerate() {
            let field = format!("{field}.headers[{index}]");
            let name = match header::name(&condition.name) {
                Ok(name) => name,
                Err(message) => return self.unusable(&format!("{field}.name"), &message),
            };
            let value = self.value(&condition.kind, &condition.value, &field)?;
            // Of several conditions on one header the first counts.
            block.headers.entry(name).or_insert(value);
        }
        for (index, condition) in given.query_params.iter().enumerate() {
            let field = format!("{field}.queryParams[{index}]");
            let value = self.value(&condition.kind, &condition.value, &field)?;
            block.query.entry(condition.name.clone()).or_insert(value);
        }
        Some(block)
    }

    fn value(&mut self, kind: &str, value: &str, field: &str) -> Option<StringMatch> {
        match kind {
            "Exact" => Some(StringMatch::Exact(value.to_owned())),
            "RegularExpression" => self.regex(value, &format!("{field}.value")),
            other => self.unusable(
                &format!("{field}.type"),
                &format!("\"{other}\" is no kind of match; write Exact or RegularExpression"),
            ),
        }
    }

    fn regex(&mut self, pattern: &str, field: &str) -> Option<StringMatch> {
        match expression::whole(pattern) {
            Ok(()) => Some(StringMatch::Regex(pattern.to_owned())),
            Err(message) => self.unusable(field, &message),
        }
    }

    fn unusable<T>(&mut self, field: &str, message: &str) -> Option<T> {
        self.add(
            Code::InvalidMatch,
            field,
            format!("{message}; until then the match never holds"),
        );
        None
    }

    fn filters(&mut self, filters: &[Filter], place: &str) -> Changes {
        let mut changes = Changes::default();
        for (index, filter) in filters.iter().enumerate() {
            let field = format!("{place}.filters[{index}]");
            let done = match (filter.kind.as_str(), filter) {
                (
                    "RequestHeaderModifier",
                    Filter {
                        request_header_modifier: Some(given),
                        ..
                    },
                ) => {
                    let field = format!("{field}.requestHeaderModifier");
                    let ops = header::modifier(given, (&field, true), self.subject, self.findings);
                    join(&mut changes.request, ops);
                    Ok(())
                }
                (
                    "ResponseHeaderModifier",
                    Filter {
                        response_header_modifier: Some(given),
                        ..
                    },
                ) => {
                    let field = format!("{field}.responseHeaderModifier");
                    let ops = header::modifier(given, (&field, false), self.subject, self.findings);
                    join(&mut changes.response, ops);
                    Ok(())
                }
                (
                    "RequestRedirect",
                    Filter {
                        request_redirect: Some(given),
                        ..
                    },
                ) => redirect(given).map(|redirect| changes.redirect = Some(redirect)),
                (
                    "URLRewrite",
                    Filter {
                        url_rewrite: Some(given),
                        ..
                    },
                ) => rewrite(given).map(|rewrite| changes.rewrite = Some(rewrite)),
                (kind, _) => Err(format!("the filter {kind} is not honoured yet")),
            };
            if let Err(message) = done {
                changes.refused = true;
                let message = format!("{message}; what the rule matches is answered with 500");
                self.add(Code::InvalidFilter, &field, message);
            }
        }
        changes
    }

    fn backends(&mut self, given: &[BackendRef]) -> Vec<Backend> {
        let mut backends = Vec::with_capacity(given.len());
        for (index, reference) in given.iter().enumerate() {
            let field = format!("{}.backendRefs[{index}]", self.field);
            let changes = self.filters(&reference.filters, &field);
            let mut target = self.target(reference, &field);
            if changes.refused {
                target = Err("a filter of the backend is not valid".to_owned());
            }
            if changes.redirect.is_some() || changes.rewrite.is_some() {
                let message =
                    "redirects and rewrites belong to the rule; here they are not honoured";
                self.add(Code::InvalidFilter, &field, message);
                target = Err(message.to_owned());
            }
            backends.push(Backend {
                weight: reference.weight,
                target,
                request: changes.request,
                response: changes.response,
            });
        }
        backends
    }

    fn target(&mut self, reference: &BackendRef, field: &str) -> Result<BackendTarget, String> {
        let resolved = self.resolve(reference);
        resolved.map_err(|(code, part, words)| {
            let message = format!("{words}; its share is answered with 500");
            self.add(code, &format!("{field}{part}"), message);
            words
        })
    }

    fn resolve(
        &self,
        reference: &BackendRef,
    ) -> Result<BackendTarget, (Code, &'static str, String)> {
        if !reference.group.is_empty() || reference.kind != "Service" {
            let words = format!(
                "a backend of kind {} is not known; use a Service",
                reference.kind
            );
            return Err((Code::InvalidBackendKind, ".kind", words));
        }
        let own = &self.subject.name.namespace;
        let name = ObjectName::new(reference.namespace.as_ref().unwrap_or(own), &reference.name);
        let Some(service) = self.cluster.services.get(&name) else {
            let words = format!("there is no Service {name}");
            return Err((Code::HostNotFound, ".name", words));
        };
        let ports = tcp_ports(service);
        match reference.port {
            Some(port) if ports.contains(&port) => Ok(BackendTarget {
                service: service.id,
                name,
                port: Some(port),
                subset: None,
            }),
            Some(port) => Err((
                Code::PortNotFound,
                ".port",
                format!("Service {name} has no TCP port {port}"),
            )),
            None => Err((Code::PortNotFound, "", "a Service needs a port".to_owned())),
        }
    }
}

fn join(into: &mut HeaderOps, ops: HeaderOps) {
    into.remove.extend(ops.remove);
    into.set.extend(ops.set);
    into.add.extend(ops.add);
}

fn redirect(given: &weft_k8s::gateway::RequestRedirect) -> Result<Redirect, String> {
    let status = given.status_code.unwrap_or(FOUND);
    if !REDIRECTS.contains(&status) {
        return Err(format!(
            "{status} is no status of a redirect; write one of 301, 302, 303, 307, 308"
        ));
    }
    if let Some(hostname) = &given.hostname {
        target::authority(hostname)?;
    }
    if let Some(scheme) = given
        .scheme
        .as_deref()
        .filter(|scheme| !["http", "https"].contains(scheme))
    {
        return Err(format!(
            "\"{scheme}\" is no scheme of a redirect; write http or https"
        ));
    }
    let port = match (given.port, &given.scheme) {
        (Some(port), _) => RedirectPort::Number(port),
        (None, Some(_)) => RedirectPort::ProtocolDefault,
        // The port of the frontend, which is the one that was dialled.
        (None, None) => RedirectPort::Request,
    };
    Ok(Redirect {
        scheme: given.scheme.clone(),
        authority: given.hostname.clone(),
        port: Some(port),
        path: given.path.as_ref().map(path).transpose()?,
        status,
    })
}

fn rewrite(given: &weft_k8s::gateway::UrlRewrite) -> Result<Rewrite, String> {
    if let Some(hostname) = &given.hostname {
        target::authority(hostname)?;
    }
    Ok(Rewrite {
        path: given.path.as_ref().map(path).transpose()?,
        authority: given.hostname.clone(),
    })
}

fn path(given: &PathModifier) -> Result<PathRewrite, String> {
    let text = match given.kind.as_str() {
        "ReplaceFullPath" => given.replace_full_path.as_ref(),
        "ReplacePrefixMatch" => given.replace_prefix_match.as_ref(),
        other => {
            return Err(format!(
                "\"{other}\" is no kind of path modifier; write ReplaceFullPath or ReplacePrefixMatch"
            ));
        }
    };
    let text = text.cloned().unwrap_or_default();
    target::path(&text)?;
    Ok(if given.kind == "ReplaceFullPath" {
        PathRewrite::Full(text)
    } else {
        PathRewrite::Matched(text)
    })
}
