//! One HTTPRoute's rules: each match becomes a rule of its own, because matches of one rule differ in precedence.
//!
//! A backend that does not resolve keeps its share, which is answered with 500; so is a rule with a filter that we do not
//! have: without the filter the request would not be what its author meant.

use std::time::Duration;

use weft_k8s::gateway::{BackendRef, HttpRouteRule, HttpRouteSpec, RouteMatch};
use weft_model::id::ObjectName;
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::reason::Reason;
use weft_model::retry::{DEFAULT_BACKOFF, MAX_ATTEMPTS, RetryOn, RetryPolicy};
use weft_model::route::{Action, Backend, BackendTarget, RouteId, Rule};

use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::backend_ref::{self, Unresolved};
use crate::pass::{expression, header};

/// Retries of a rule that does not say how many: the transport's own.
const ATTEMPTS: u32 = 2;
/// The part of the shortest pause that the first pause may be longer.
const SPREAD: u32 = 4;
/// What a `retry` covers beside its codes: "connection errors (disconnect, reset, timeout, TCP failure)".
const NO_ANSWER: [Reason; 5] = [
    Reason::UpstreamConnect,
    Reason::UpstreamReset,
    Reason::StreamRefused,
    Reason::UpstreamProtocol,
    Reason::AttemptTimeout,
];

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

/// One rule being lowered.
pub(crate) struct Lowering<'a, 'b> {
    pub(crate) cluster: &'b Cluster<'a>,
    pub(crate) subject: Subject<'b>,
    /// Path of the rule.
    pub(crate) field: String,
    pub(crate) findings: &'b mut Findings,
}

/// A limit of time; zero is none.
fn limit(given: Option<weft_k8s::Duration>) -> Option<Duration> {
    given.map(|limit| limit.0).filter(|limit| !limit.is_zero())
}

impl Lowering<'_, '_> {
    /// The rule without its matches.
    fn rule(&mut self, index: usize, given: &HttpRouteRule) -> Rule {
        let changes = self.filters(&given.filters, &self.field.clone());
        let retry = self.retry(given);
        let action = if changes.refused {
            Action::Forward(Vec::new())
        } else if let Some(redirect) = changes.redirect {
            Action::Redirect(redirect)
        } else {
            Action::Forward(self.backends(&given.backend_refs))
        };
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
            retry,
            mirrors: changes.mirrors,
            cors: changes.cors,
            fault: None,
        }
    }

    /// Retries as asked for; a limit for each try alone asks for those of the transport.
    fn retry(&mut self, given: &HttpRouteRule) -> Option<RetryPolicy> {
        let per_try_timeout = limit(given.timeouts.backend_request);
        let Some(retry) = &given.retry else {
            return per_try_timeout.map(|limit| RetryPolicy {
                attempts: ATTEMPTS,
                per_try_timeout: Some(limit),
                backoff: DEFAULT_BACKOFF,
                least_pause: Duration::ZERO,
                on: RetryOn {
                    reasons: vec![Reason::UpstreamConnect, Reason::StreamRefused],
                    ..RetryOn::default()
                },
            });
        };
        let field = format!("{}.retry", self.field);
        let attempts = retry.attempts.unwrap_or(ATTEMPTS);
        if attempts == 0 || attempts > MAX_ATTEMPTS {
            let message = format!(
                "attempts {attempts} is not between 1 and {MAX_ATTEMPTS}; the nearest is used"
            );
            self.add(Code::InvalidRetry, &format!("{field}.attempts"), message);
        }
        let (codes, others): (Vec<u16>, Vec<u16>) = retry
            .codes
            .iter()
            .partition(|code| (400..600).contains(*code));
        if let Some(other) = others.first() {
            let message = format!("{other} is no status of an error; write one from 400 to 599");
            self.add(Code::InvalidRetry, &format!("{field}.codes"), message);
        }
        let least_pause = retry.backoff.map_or(DEFAULT_BACKOFF, |pause| pause.0);
        Some(RetryPolicy {
            attempts: attempts.clamp(1, MAX_ATTEMPTS),
            per_try_timeout,
            // The API's back-off is the shortest pause; what comes on top keeps many clients apart.
            backoff: least_pause / SPREAD,
            least_pause,
            on: RetryOn {
                statuses: codes.into_iter().map(|code| (code, code)).collect(),
                grpc: Vec::new(),
                reasons: NO_ANSWER.to_vec(),
            },
        })
    }

    pub(crate) fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
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

    fn backends(&mut self, given: &[BackendRef]) -> Vec<Backend> {
        let mut backends = Vec::with_capacity(given.len());
        for (index, reference) in given.iter().enumerate() {
            let field = format!("{}.backendRefs[{index}]", self.field);
            let changes = self.filters(&reference.filters, &field);
            let mut target = self.target(reference, &field);
            if changes.refused {
                target = Err("a filter of the backend is not valid".to_owned());
            }
            if changes.redirect.is_some() || changes.rewrite.is_some() || changes.cors.is_some() {
                let message =
                    "redirects, rewrites and CORS belong to the rule; here they are not honoured";
                self.add(Code::InvalidFilter, &field, message);
                target = Err(message.to_owned());
            }
            backends.push(Backend {
                weight: reference.weight,
                target,
                request: changes.request,
                response: changes.response,
                mirrors: changes.mirrors,
            });
        }
        backends
    }

    fn target(&mut self, reference: &BackendRef, field: &str) -> Result<BackendTarget, String> {
        let own = &self.subject.name.namespace;
        let resolved = backend_ref::resolve(self.cluster, own, &reference.object());
        resolved.map_err(|Unresolved { code, part, words }| {
            let message = format!("{words}; its share is answered with 500");
            self.add(code, &format!("{field}{part}"), message);
            words
        })
    }
}
