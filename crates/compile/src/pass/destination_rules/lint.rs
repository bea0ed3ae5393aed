//! What the author of a DestinationRule should know: words that do not exist, subsets without a name or a workload, rules
//! of which another one takes the place. Nothing here changes what is in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_k8s::istio::{self, DestinationRule};
use weft_k8s::{Kind, Located};

use super::{Bound, Rules, balance};
use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::visibility;
use crate::workloads::Workloads;

/// Findings about one rule, whatever it is bound to.
pub(super) fn lint(
    located: &Located<Arc<DestinationRule>>,
    subject: Subject<'_>,
    findings: &mut Findings,
) {
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

/// Findings about rules that meet in one namespace.
pub(super) fn lint_merges(rules: &Rules<'_>, cluster: &Cluster<'_>, findings: &mut Findings) {
    for bound in rules.by_service.values() {
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
