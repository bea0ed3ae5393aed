//! Which rule a request obeys: the first in order of which any match block holds (Istio's meaning).

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use weft_model::target::RequestTarget;

use crate::matcher::PreparedMatch;
use crate::policy::PreparedRule;
use crate::service::PreparedService;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    /// Namespace of the calling workload; empty when unknown.
    pub namespace: &'c str,
    /// Its pod labels.
    pub labels: &'c BTreeMap<String, String>,
}

/// What is asked, as received and before any filter changed it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'r> {
    /// Method.
    pub method: &'r Method,
    /// Canonical authority, path and query.
    pub target: &'r RequestTarget,
    /// Headers.
    pub headers: &'r HeaderMap,
    /// `http` or `https`.
    pub scheme: &'r str,
}

/// What the service's routes say to a request.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'t> {
    /// The service has no route object: send to the service itself.
    Implicit,
    /// This rule decides.
    Rule {
        /// The rule.
        rule: &'t PreparedRule,
        /// The block that held; none for a rule without blocks. Rewrites of a prefix need it.
        matched: Option<&'t PreparedMatch>,
    },
    /// There are rules and none matches: `Reason::NoRoute`.
    NoRoute,
}

/// Finds the rule for a request to `port` of `service`.
#[must_use]
pub fn route<'t>(
    service: &'t PreparedService,
    port: u16,
    client: &Client<'_>,
    request: &RequestView<'_>,
) -> Choice<'t> {
    let Some(rules) = &service.client(client.namespace).rules else {
        return Choice::Implicit;
    };
    for rule in rules {
        if rule.matches.is_empty() {
            return Choice::Rule {
                rule,
                matched: None,
            };
        }
        if let Some(block) = rule
            .matches
            .iter()
            .find(|block| block.matches(port, client, request))
        {
            return Choice::Rule {
                rule,
                matched: Some(block),
            };
        }
    }
    Choice::NoRoute
}

#[cfg(test)]
mod tests;
