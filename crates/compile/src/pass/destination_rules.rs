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
use crate::pass::visibility::{self, Visibility};
use crate::workloads::Workloads;

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
        lint(located, subject, findings);
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
    rules.lint_merges(cluster, findings);
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

    /// Findings about rules that meet in one namespace.
    fn lint_merges(&self, cluster: &Cluster<'_>, findings: &mut Findings) {
        for bound in self.by_service.values() {
            for (index, rule) in bound.iter().enumerate() {
                let earlier = bound
                    .get(..index)
                    .unwrap_or_default()
                    .iter()
                    .filter(|other| {
                        other.name.namespace == rule.name.namespace
                            && other.specificity == rule.specificity
                            && other.visibility.overlaps(&rule.visibility)
                    });
                for other in earlier {
                    lint_pair(cluster, other, rule, findings);
                }
            }
        }
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

fn lint(located: &Located<Arc<DestinationRule>>, subject: Subject<'_>, findings: &mut Findings) {
    let spec = &located.value.spec;
    visibility::lint(&spec.export_to, subject, findings);
    lint_policy(
        spec.traffic_policy.as_ref(),
        "spec.trafficPolicy",
        subject,
        findings,
    );
    let mut names = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let field = format!("spec.subsets[{index}]");
        lint_policy(
            subset.traffic_policy.as_ref(),
            &format!("{field}.trafficPolicy"),
            subject,
            findings,
        );
        if subset.name.is_empty() {
            findings.add(
                Code::InvalidSubset,
                subject,
                &field,
                "the subset has no name; add one",
            );
        } else if !names.insert(&subset.name) {
            let message = format!("subset {} is there twice; the first is used", subset.name);
            findings.add(Code::DuplicateSubset, subject, &field, message);
        }
    }
}

fn lint_policy(
    policy: Option<&istio::TrafficPolicy>,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) {
    let simple = policy
        .and_then(|policy| policy.load_balancer.as_ref())
        .and_then(|balancer| balancer.simple.as_deref());
    let field = format!("{field}.loadBalancer.simple");
    match simple {
        Some("PASSTHROUGH") => {
            findings.add(
                Code::FieldNotHonoured,
                subject,
                &field,
                "PASSTHROUGH is not honoured yet; LEAST_REQUEST is used",
            );
        }
        Some("LEAST_CONN") => {
            findings.add(
                Code::Deprecated,
                subject,
                &field,
                "LEAST_CONN is the old name of LEAST_REQUEST",
            );
        }
        Some(word) if balance(Some(word)).is_none() => {
            let message =
                format!("\"{word}\" does not exist; write LEAST_REQUEST, ROUND_ROBIN or RANDOM");
            findings.add(Code::UnknownBalancer, subject, &field, message);
        }
        _ => {}
    }
}

/// Findings about subsets that select none of the workloads behind their service.
pub(crate) fn lint_workloads(
    cluster: &Cluster<'_>,
    workloads: &Workloads<'_>,
    rules: &Rules<'_>,
    findings: &mut Findings,
) {
    for (service, bound) in &rules.by_service {
        let Some(live) = cluster.services.get(service) else {
            continue;
        };
        let selector = &live.service().spec.selector;
        if selector.is_empty()
            || workloads.has_workload(&service.namespace, &[selector]) != Some(true)
        {
            continue;
        }
        for rule in bound {
            let Some(located) = cluster.snapshot.destination_rules.get(rule.name) else {
                continue;
            };
            let subject = Subject {
                kind: Kind::DestinationRule.name(),
                name: rule.name,
                origin: located,
            };
            for (index, subset) in rule.spec.subsets.iter().enumerate() {
                if workloads.has_workload(&service.namespace, &[selector, &subset.labels])
                    == Some(false)
                {
                    let labels = weft_model::policy::selector(&subset.labels);
                    let message = format!(
                        "no workload of Service {service} carries {labels}; correct the labels of subset {}",
                        subset.name
                    );
                    let field = format!("spec.subsets[{index}].labels");
                    findings.add(Code::SubsetWithoutWorkloads, subject, &field, message);
                }
            }
        }
    }
}

fn lint_pair(cluster: &Cluster<'_>, older: &Bound<'_>, newer: &Bound<'_>, findings: &mut Findings) {
    let Some(located) = cluster.snapshot.destination_rules.get(newer.name) else {
        return;
    };
    let subject = Subject {
        kind: Kind::DestinationRule.name(),
        name: newer.name,
        origin: located,
    };
    if older.spec.traffic_policy.is_some() && newer.spec.traffic_policy.is_some() {
        let message = format!(
            "DestinationRule {} has a trafficPolicy for the same host, which is in force",
            older.name
        );
        findings.add(
            Code::ConflictingRules,
            subject,
            "spec.trafficPolicy",
            message,
        );
    }
    for (index, subset) in newer.spec.subsets.iter().enumerate() {
        if older
            .spec
            .subsets
            .iter()
            .any(|other| other.name == subset.name)
        {
            let message = format!(
                "DestinationRule {} defines subset {} too, and that one is used",
                older.name, subset.name
            );
            findings.add(
                Code::DuplicateSubset,
                subject,
                &format!("spec.subsets[{index}]"),
                message,
            );
        }
    }
}
