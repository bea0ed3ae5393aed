//! DestinationRules: subsets and traffic policy of a service as a client's namespace sees them.
//!
//! One scope counts for a client: its own namespace, else the service's, else the root namespace. Within a scope the
//! most specific host counts, and rules with that host are merged: subsets together, the oldest traffic policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_k8s::istio::{self, DestinationRule};
use weft_k8s::{Kind, Located, Name};
use weft_model::id::ObjectName;
use weft_model::policy::{Balance, TrafficPolicy};

use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::host::Host;
use crate::pass::visibility::Visibility;

mod lint;

pub(crate) use lint::lint_workloads;

/// A rule that applies to a service.
struct Bound<'a> {
    name: &'a Name,
    spec: &'a istio::DestinationRuleSpec,
    visibility: Visibility,
    /// Length of the host; an exact host is longer than any wildcard.
    specificity: usize,
}

/// All rules by service, oldest first.
pub(crate) struct Rules<'a> {
    root: &'a str,
    by_service: BTreeMap<ObjectName, Vec<Bound<'a>>>,
}

/// What a client's namespace sees of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub(crate) traffic: TrafficPolicy,
    /// Labels and policy by subset.
    pub(crate) subsets: BTreeMap<&'a str, (&'a BTreeMap<String, String>, TrafficPolicy)>,
}

/// Binds every rule to its services.
pub(crate) fn run<'a>(cluster: &Cluster<'a>, findings: &mut Findings) -> Rules<'a> {
    let mut by_service: BTreeMap<ObjectName, Vec<Bound<'a>>> = BTreeMap::new();
    let mut sorted: Vec<_> = cluster.snapshot.destination_rules.iter().collect();
    sorted.sort_by_key(|(name, rule)| {
        (
            rule.value.metadata.creation_timestamp.as_deref(),
            &name.name,
            &name.namespace,
        )
    });
    for (name, located) in sorted {
        let subject = Subject {
            kind: Kind::DestinationRule.name(),
            name,
            origin: located,
        };
        lint::lint(located, subject, findings);
        for (service, specificity) in bind(cluster, name, located, subject, findings) {
            let spec = &located.value.spec;
            let visibility = Visibility::read(&spec.export_to, &name.namespace);
            by_service.entry(service).or_default().push(Bound {
                name,
                spec,
                visibility,
                specificity,
            });
        }
    }
    let rules = Rules {
        root: &cluster.settings.root_namespace,
        by_service,
    };
    lint::lint_merges(&rules, cluster, findings);
    rules
}

/// Services that the rule is about.
fn bind(
    cluster: &Cluster<'_>,
    name: &Name,
    located: &Located<Arc<DestinationRule>>,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Vec<(ObjectName, usize)> {
    let host = &located.value.spec.host;
    if host.is_empty() {
        findings.add(
            Code::NoHost,
            subject,
            "spec.host",
            "the rule has no host; write the name of a Service",
        );
        return Vec::new();
    }
    if located
        .unread
        .iter()
        .any(|unread| unread.path == "spec.workloadSelector")
    {
        // Meant for some callers only; applying it to all would change the traffic of those it is not meant for.
        return Vec::new();
    }
    match cluster.hosts.resolve(host, &name.namespace) {
        Host::Service {
            name: service,
            partial,
        } => {
            if partial {
                let message = format!("write the full name {}", cluster.hosts.full_name(&service));
                findings.add(Code::PartialHost, subject, "spec.host", message);
            }
            vec![(service, usize::MAX)]
        }
        Host::Suffix(suffix) => {
            let all = cluster.services.keys();
            let found: Vec<_> = all
                .filter(|service| cluster.hosts.full_name(service).ends_with(&suffix))
                .collect();
            if found.is_empty() {
                findings.add(
                    Code::RuleHostNotFound,
                    subject,
                    "spec.host",
                    format!("no Service ends with {suffix}"),
                );
            }
            found
                .into_iter()
                .map(|service| (service.clone(), suffix.len()))
                .collect()
        }
        Host::Unknown(full) => {
            let message =
                format!("there is no Service {full}; correct the host or create the Service");
            findings.add(Code::RuleHostNotFound, subject, "spec.host", message);
            Vec::new()
        }
    }
}

impl<'a> Rules<'a> {
    /// Selectors of all subsets that anybody defined for the service.
    pub(crate) fn selectors(&self, service: &ObjectName) -> BTreeSet<&'a BTreeMap<String, String>> {
        let bound = self.by_service.get(service).into_iter().flatten();
        bound
            .flat_map(|bound| &bound.spec.subsets)
            .map(|subset| &subset.labels)
            .collect()
    }

    /// Namespaces whose clients may see the service differently from everybody else.
    pub(crate) fn special(&self, service: &ObjectName) -> BTreeSet<&str> {
        let bound = self.by_service.get(service).into_iter().flatten();
        bound
            .flat_map(|bound| {
                bound
                    .visibility
                    .named()
                    .chain(std::iter::once(bound.name.namespace.as_str()))
            })
            .collect()
    }

    /// What clients of a namespace see of the service; `None` stands for all other namespaces.
    pub(crate) fn view(&self, service: &ObjectName, client: Option<&str>) -> View<'a> {
        let Some(bound) = self.by_service.get(service) else {
            return View::default();
        };
        let scopes = [client, Some(service.namespace.as_str()), Some(self.root)];
        scopes
            .into_iter()
            .flatten()
            .find_map(|scope| merge(bound, scope, client))
            .unwrap_or_default()
    }
}

fn merge<'a>(bound: &[Bound<'a>], scope: &str, client: Option<&str>) -> Option<View<'a>> {
    let visible = || {
        bound
            .iter()
            .filter(|b| b.name.namespace == scope && b.visibility.includes(client))
    };
    let specificity = visible().map(|bound| bound.specificity).max()?;
    let chosen = || visible().filter(move |bound| bound.specificity == specificity);
    let policy = chosen().find_map(|bound| bound.spec.traffic_policy.as_ref());
    let mut view = View {
        traffic: lower(&[policy]),
        subsets: BTreeMap::new(),
    };
    for subset in chosen()
        .flat_map(|bound| &bound.spec.subsets)
        .filter(|subset| !subset.name.is_empty())
    {
        let traffic = lower(&[policy, subset.traffic_policy.as_ref()]);
        view.subsets
            .entry(&subset.name)
            .or_insert((&subset.labels, traffic));
    }
    Some(view)
}

/// Later policies replace the parts that they have.
fn lower(policies: &[Option<&istio::TrafficPolicy>]) -> TrafficPolicy {
    let mut traffic = TrafficPolicy::default();
    for policy in policies.iter().flatten() {
        if let Some(balancer) = &policy.load_balancer {
            traffic.balance = balance(balancer.simple.as_deref()).unwrap_or_default();
        }
        if let Some(pool) = &policy.connection_pool {
            let timeout = pool
                .tcp
                .as_ref()
                .and_then(|tcp| tcp.connect_timeout)
                .filter(|limit| !limit.0.is_zero());
            traffic.connect_timeout =
                timeout.map_or(TrafficPolicy::default().connect_timeout, |limit| limit.0);
        }
    }
    traffic
}

/// The algorithm of a word; `None` for a word that does not exist or is not honoured.
fn balance(word: Option<&str>) -> Option<Balance> {
    match word {
        None | Some("UNSPECIFIED" | "LEAST_REQUEST" | "LEAST_CONN") => Some(Balance::LeastRequest),
        Some("ROUND_ROBIN") => Some(Balance::RoundRobin),
        Some("RANDOM") => Some(Balance::Random),
        Some(_) => None,
    }
}
