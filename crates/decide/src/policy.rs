//! Prepared policy of one service: rules with compiled matchers and valid header changes, by the client's namespace.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use weft_model::id::ObjectName;
use weft_model::policy::{ClientPolicy, ServicePolicy, TrafficPolicy};
use weft_model::reason::Reason;
use weft_model::retry::RetryPolicy;
use weft_model::route::{Action, Backend, BackendTarget, Direct, Fault, Mirror, RouteId, Rule};

use crate::cors::PreparedCors;
use crate::filter::PreparedHeaderOps;
use crate::matcher::PreparedMatch;
use crate::rewrite::{PreparedRedirect, PreparedRewrite};
use crate::split::Split;

/// Something in a policy that cannot be honoured on this node; the rest of the policy works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The service whose clients are concerned.
    pub service: ObjectName,
    /// The rule.
    pub route: RouteId,
    /// The field within the rule.
    pub field: String,
    /// What is wrong and what it means for traffic.
    pub message: String,
}

/// Policy of one service for all its clients.
#[derive(Debug, Default)]
pub(crate) struct PreparedPolicy {
    default: PreparedClient,
    by_namespace: HashMap<String, PreparedClient>,
    pub(crate) problems: Vec<Problem>,
}

/// Policy as the clients of one namespace see it.
#[derive(Debug, Default)]
pub struct PreparedClient {
    /// Ordered rules; none = no route object.
    pub rules: Option<Box<[PreparedRule]>>,
    traffic: TrafficPolicy,
    subsets: Box<[(String, TrafficPolicy)]>,
}

/// One rule, ready to be applied.
#[derive(Debug)]
pub struct PreparedRule {
    /// Origin.
    pub id: RouteId,
    /// `namespace/name:rule`, the route's name in access logs.
    pub label: Arc<str>,
    pub(crate) matches: Box<[PreparedMatch]>,
    /// What to do.
    pub action: PreparedAction,
    /// Changes to the request before it is sent.
    pub request: PreparedHeaderOps,
    /// Changes to the response before it is returned.
    pub response: PreparedHeaderOps,
    pub(crate) rewrite: Option<PreparedRewrite>,
    /// Why a request is refused whose share belongs to nobody.
    pub(crate) unresolved: Reason,
    /// Limit of the whole exchange; none = no limit.
    pub timeout: Option<Duration>,
    /// Retries; none = the transport's own.
    pub retry: Option<RetryPolicy>,
    /// Who gets copies (`mirror::mirrors`).
    pub(crate) mirrors: Box<[Mirror]>,
    /// Cross-origin requests; none = left to the application. Boxed, because few rules have it.
    pub cors: Option<Box<PreparedCors>>,
    /// Failures made on purpose.
    pub fault: Option<Fault>,
}

/// What a rule does.
#[derive(Debug)]
pub enum PreparedAction {
    /// Send to one of these by weight (`split::pick_backend`).
    Forward(Split),
    /// Answer with a redirect (`rewrite::redirect`).
    Redirect(PreparedRedirect),
    /// Answer with a fixed response.
    Direct(Direct),
}

/// One weighted destination that resolves.
#[derive(Debug)]
pub struct PreparedBackend {
    /// Where.
    pub target: BackendTarget,
    /// Request changes for this backend, after the rule's.
    pub request: PreparedHeaderOps,
    /// Response changes for this backend, before the rule's.
    pub response: PreparedHeaderOps,
    /// Who gets copies of this backend's requests.
    pub(crate) mirrors: Box<[Mirror]>,
}

impl PreparedPolicy {
    pub(crate) fn new(policy: &ServicePolicy) -> Self {
        let mut problems = Vec::new();
        let mut client =
            |policy_of: &ClientPolicy| PreparedClient::new(&policy.name, policy_of, &mut problems);
        let default = client(&policy.default);
        let by_namespace = policy
            .by_namespace
            .iter()
            .map(|(name, of)| (name.clone(), client(of)))
            .collect();
        Self {
            default,
            by_namespace,
            problems,
        }
    }

    pub(crate) fn client(&self, namespace: &str) -> &PreparedClient {
        if self.by_namespace.is_empty() {
            return &self.default;
        }
        self.by_namespace.get(namespace).unwrap_or(&self.default)
    }
}

impl PreparedClient {
    fn new(service: &ObjectName, policy: &ClientPolicy, problems: &mut Vec<Problem>) -> Self {
        let rules = policy.http.as_ref().map(|rules| {
            rules
                .iter()
                .map(|rule| PreparedRule::new(service, rule, problems))
                .collect()
        });
        let subsets = policy
            .subsets
            .iter()
            .map(|(name, traffic)| (name.clone(), *traffic))
            .collect();
        Self {
            rules,
            traffic: policy.traffic,
            subsets,
        }
    }

    /// Traffic policy of a subset by its name, or of the service.
    #[must_use]
    pub fn traffic(&self, subset: Option<&str>) -> TrafficPolicy {
        subset
            .and_then(|name| self.subsets.iter().find(|(known, _)| known == name))
            .map_or(self.traffic, |(_, traffic)| *traffic)
    }
}

impl PreparedRule {
    fn new(service: &ObjectName, rule: &Rule, problems: &mut Vec<Problem>) -> Self {
        let mut report = |field: &str, message: String| {
            problems.push(Problem {
                service: service.clone(),
                route: rule.id.clone(),
                field: field.to_owned(),
                message,
            });
        };
        let matches = rule
            .matches
            .iter()
            .map(|block| PreparedMatch::new(block, &mut report))
            .collect();
        Self {
            id: rule.id.clone(),
            label: format!("{}:{}", rule.id.object, rule.id.rule).into(),
            matches,
            action: PreparedAction::new(&rule.action, &mut report),
            request: PreparedHeaderOps::new(&rule.request, "request headers", &mut report),
            response: PreparedHeaderOps::new(&rule.response, "response headers", &mut report),
            rewrite: rule
                .rewrite
                .as_ref()
                .map(|rewrite| PreparedRewrite::new(rewrite, &mut report)),
            unresolved: rule.unresolved,
            timeout: rule.timeout,
            retry: rule.retry.clone(),
            mirrors: rule.mirrors.clone().into_boxed_slice(),
            cors: rule
                .cors
                .as_ref()
                .map(|cors| Box::new(PreparedCors::new(cors, &mut report))),
            fault: rule.fault,
        }
    }
}

impl PreparedAction {
    fn new(action: &Action, report: &mut dyn FnMut(&str, String)) -> Self {
        match action {
            Action::Forward(backends) => {
                let shares = backends
                    .iter()
                    .map(|backend| (backend.weight, PreparedBackend::new(backend, report)));
                Self::Forward(Split::new(shares))
            }
            Action::Redirect(redirect) => Self::Redirect(PreparedRedirect::new(redirect, report)),
            Action::Direct(direct) => Self::Direct(direct.clone()),
        }
    }
}

impl PreparedBackend {
    /// `Err` keeps the words for a reference that does not resolve.
    fn new(backend: &Backend, report: &mut dyn FnMut(&str, String)) -> Result<Self, String> {
        let target = backend.target.clone()?;
        let place = |part: &str| format!("backend {} {part}", target.name);
        let request = PreparedHeaderOps::new(&backend.request, &place("request headers"), report);
        let response =
            PreparedHeaderOps::new(&backend.response, &place("response headers"), report);
        Ok(Self {
            target,
            request,
            response,
            mirrors: backend.mirrors.clone().into_boxed_slice(),
        })
    }
}

#[cfg(test)]
impl PreparedPolicy {
    /// The first rule of the default policy, alone.
    pub(crate) fn into_first_rule(self) -> PreparedRule {
        self.default.rules.unwrap().into_vec().remove(0)
    }
}
