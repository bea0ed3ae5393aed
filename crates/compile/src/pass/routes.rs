//! One VirtualService's HTTP rules as the clients of one namespace obey them.

use weft_k8s::istio::{HttpRoute, HttpRouteDestination};
use weft_model::id::ObjectName;
use weft_model::reason::Reason;
use weft_model::route::{Action, Backend, RouteId, Rule};

use crate::cluster::{Cluster, LiveService};
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::destination_rules::Rules;
use crate::pass::{answer, cors, header, matches, retry, rewrite};

/// Share of a single destination, whatever weight it was given.
const WHOLE: u32 = 100;

/// A rule and its position in the VirtualService.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub(crate) index: usize,
    pub(crate) rule: Rule,
}

/// What lowering needs to know.
pub(crate) struct Lowering<'a, 'b> {
    pub(crate) cluster: &'b Cluster<'a>,
    pub(crate) rules: &'b Rules<'a>,
    pub(crate) subject: Subject<'b>,
    /// Namespace of the clients; `None` for all that have no view of their own.
    pub(crate) client: Option<&'b str>,
    pub(crate) findings: &'b mut Findings,
    /// What becomes of requests whose destination does not resolve, in words.
    pub(crate) otherwise: &'static str,
}

/// See `Lowering::otherwise`.
pub(crate) const REFUSED: &str = "its requests are answered with 503";

impl Lowering<'_, '_> {
    /// All rules that can ever match, in order.
    pub(crate) fn run(&mut self, routes: &[HttpRoute]) -> Vec<Lowered> {
        let lowered = routes.iter().enumerate().filter_map(|(index, route)| {
            let rule = self.rule(index, route)?;
            Some(Lowered { index, rule })
        });
        lowered.collect()
    }

    fn rule(&mut self, index: usize, route: &HttpRoute) -> Option<Rule> {
        let field = format!("spec.http[{index}]");
        let mut conditions = Vec::new();
        for (number, given) in route.matches.iter().enumerate() {
            let field = format!("{field}.match[{number}]");
            conditions.extend(matches::lower(given, &field, self.subject, self.findings));
        }
        if conditions.is_empty() && !route.matches.is_empty() {
            // Not one match can hold; without matches the rule would catch everything.
            return None;
        }
        let timeout = route
            .timeout
            .map(|limit| limit.0)
            .filter(|limit| !limit.is_zero());
        let (request, response) =
            header::lower(route.headers.as_ref(), &field, self.subject, self.findings);
        let mut action = self.action(route, &field);
        let retry = retry::lower(
            route.retries.as_ref(),
            timeout,
            &field,
            self.subject,
            self.findings,
        );
        let forwards = matches!(action, Action::Forward(_));
        let mirrors = self.mirrors(route, &field);
        let fault = self.fault(route, &field);
        let cors = route.cors_policy.as_ref();
        let cors = cors.map(|given| cors::of_policy(given, &field, self.subject, self.findings));
        let given = route.rewrite.as_ref();
        let rewrite =
            given.map(|given| rewrite::lower(given, forwards, &field, self.subject, self.findings));
        let rewrite = rewrite.unwrap_or(Ok(None)).unwrap_or_else(|()| {
            action = dead("the rewrite is not valid");
            None
        });
        Some(Rule {
            id: RouteId {
                kind: self.subject.kind.to_owned(),
                object: ObjectName::new(&self.subject.name.namespace, &self.subject.name.name),
                rule: if route.name.is_empty() {
                    index.to_string()
                } else {
                    route.name.clone()
                },
            },
            matches: conditions,
            action,
            unresolved: Reason::NoBackend,
            request,
            response,
            rewrite,
            timeout,
            retry: forwards.then_some(retry),
            mirrors,
            cors,
            fault,
        })
    }

    pub(crate) fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.findings.add(code, self.subject, field, message);
    }

    fn action(&mut self, route: &HttpRoute, field: &str) -> Action {
        let given = usize::from(!route.route.is_empty())
            + usize::from(route.redirect.is_some())
            + usize::from(route.direct_response.is_some());
        if given > 1 {
            let message = "write one of route, redirect and directResponse; of several the redirect counts, then the response";
            self.add(Code::InvalidAction, field, message);
        }
        if let Some(redirect) = &route.redirect {
            let field = format!("{field}.redirect");
            let redirect = answer::redirect(redirect, &field, self.subject, self.findings);
            return redirect.map_or_else(|| dead("the redirect is not valid"), Action::Redirect);
        }
        if let Some(direct) = &route.direct_response {
            return answer::direct(direct).map_or_else(
                |message| {
                    let message = format!("{message}; what the rule matches is answered with 503");
                    self.add(
                        Code::InvalidDirectResponse,
                        &format!("{field}.directResponse"),
                        message,
                    );
                    dead("the direct response is not valid")
                },
                Action::Direct,
            );
        }
        if route.route.is_empty() {
            let message = "the rule has no route, redirect or directResponse; what it matches is answered with 503";
            self.add(Code::InvalidAction, field, message);
            return dead("the rule has no route");
        }
        Action::Forward(self.backends(&route.route, field))
    }

    fn backends(&mut self, given: &[HttpRouteDestination], field: &str) -> Vec<Backend> {
        let alone = given.len() == 1;
        if !alone
            && given
                .iter()
                .all(|destination| destination.weight.unwrap_or(0) <= 0)
        {
            let message = "no destination has a weight above 0; all requests are answered with 503";
            self.add(Code::InvalidWeight, &format!("{field}.route"), message);
        }
        let some_weight = given.iter().any(|destination| destination.weight.is_some());
        let mut backends = Vec::with_capacity(given.len());
        for (index, destination) in given.iter().enumerate() {
            let field = format!("{field}.route[{index}]");
            if !alone && some_weight && destination.weight.is_none() {
                self.add(
                    Code::WeightMissing,
                    &field,
                    "no weight beside weighted destinations means 0; write weight",
                );
            }
            let weight = self.weight(destination.weight, &format!("{field}.weight"));
            let target = self.target(&destination.destination, &format!("{field}.destination"));
            let (request, response) = header::lower(
                destination.headers.as_ref(),
                &field,
                self.subject,
                self.findings,
            );
            backends.push(Backend {
                weight: if alone { WHOLE } else { weight },
                target,
                request,
                response,
                mirrors: Vec::new(),
            });
        }
        backends
    }

    fn weight(&mut self, given: Option<i64>, field: &str) -> u32 {
        let given = given.unwrap_or(0);
        u32::try_from(given).unwrap_or_else(|_| {
            self.add(
                Code::InvalidWeight,
                field,
                format!("weight {given} is out of range; 0 is used"),
            );
            0
        })
    }
}

/// TCP ports of a service, ascending.
pub(crate) fn tcp_ports(service: &LiveService<'_>) -> Vec<u16> {
    let ports = service
        .service()
        .spec
        .ports
        .iter()
        .filter(|port| port.is_tcp() && port.port > 0);
    let mut ports: Vec<u16> = ports.map(|port| port.port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A rule that cannot do what it was meant to do refuses.
fn dead(words: &str) -> Action {
    Action::Forward(vec![Backend {
        weight: WHOLE,
        target: Err(words.to_owned()),
        request: Default::default(),
        response: Default::default(),
        mirrors: Vec::new(),
    }])
}
