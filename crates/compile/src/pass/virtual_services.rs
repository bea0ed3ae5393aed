//! VirtualServices: which one is in force for a service and a client's namespace, and the policies that follow.
//!
//! The most specific host wins, then an object that only the client's namespaces see, then the oldest, then the first
//! by name. One object is in force; objects are never merged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_k8s::istio::VirtualService;
use weft_k8s::{Kind, Located, Name};
use weft_model::id::ObjectName;
use weft_model::policy::{ClientPolicy, ServicePolicy};
use weft_model::protocol::Protocol;
use weft_model::route::{Action, Rule};
use weft_model::table::Tables;

use crate::cluster::{Cluster, LiveService};
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::host::Host;
use crate::pass::destination_rules::Rules;
use crate::pass::http_routes::Attached;
use crate::pass::matches::includes_mesh;
use crate::pass::routes::{Lowered, Lowering, tcp_ports};
use crate::pass::visibility::{self, Visibility};
use crate::pass::{grpc_routes, reach, routes, services};

/// A VirtualService that claims a service.
struct Claim<'a> {
    name: &'a Name,
    located: &'a Located<Arc<VirtualService>>,
    visibility: Visibility,
    specificity: usize,
    host_field: String,
}

impl<'a> Claim<'a> {
    fn subject(&self) -> Subject<'a> {
        Subject {
            kind: Kind::VirtualService.name(),
            name: self.name,
            origin: self.located,
        }
    }

    /// Smaller is in force.
    fn rank(&self) -> (usize, bool, Option<&str>, &str, &str) {
        let age = self.located.value.metadata.creation_timestamp.as_deref();
        let public = self.visibility == Visibility::Public;
        (
            usize::MAX - self.specificity,
            public,
            age,
            &self.name.name,
            &self.name.namespace,
        )
    }
}

/// Rules that were lowered before: a wildcard host has many services.
type Lowerings<'a> = BTreeMap<(&'a Name, Option<String>), Vec<Lowered>>;

/// Fills `policies`; a service that nothing is said about has none.
pub(crate) fn run(
    cluster: &Cluster<'_>,
    rules: &Rules<'_>,
    tables: &mut Tables,
    findings: &mut Findings,
) {
    let claims = claims(cluster, rules, findings);
    let attached = Attached::build(cluster, findings);
    grpc_routes::run(cluster, &attached, findings);
    let mut lowerings = Lowerings::new();
    for service in cluster.services.values() {
        let own = claims.get(&service.name).map_or(&[][..], Vec::as_slice);
        lint(service, own, findings);
        let mut special: BTreeSet<&str> = rules.special(&service.name);
        special.extend(own.iter().flat_map(|claim| claim.visibility.named()));
        special.extend(attached.special(&service.name));
        if attached.has(&service.name) {
            lint_hidden(service, own, findings);
        }
        let mut maker = Maker {
            cluster,
            rules,
            service,
            claims: own,
            attached: &attached,
            lowerings: &mut lowerings,
            findings,
        };
        let default = maker.policy(None);
        let by_namespace = special
            .into_iter()
            .map(|namespace| (namespace.to_owned(), maker.policy(Some(namespace))));
        let policy = ServicePolicy {
            service: service.id,
            name: service.name.clone(),
            by_namespace: by_namespace
                .filter(|(_, policy)| *policy != default)
                .collect(),
            default,
        };
        if policy.default != ClientPolicy::default() || !policy.by_namespace.is_empty() {
            tables.policies.insert(service.id, Arc::new(policy));
        }
    }
}

struct Maker<'a, 'b> {
    cluster: &'b Cluster<'a>,
    rules: &'b Rules<'a>,
    service: &'b LiveService<'a>,
    claims: &'b [Claim<'a>],
    attached: &'b Attached,
    lowerings: &'b mut Lowerings<'a>,
    findings: &'b mut Findings,
}

impl Maker<'_, '_> {
    /// The policy as clients of a namespace see it; `None` stands for all other namespaces.
    fn policy(&mut self, client: Option<&str>) -> ClientPolicy {
        let view = self.rules.view(&self.service.name, client);
        let subsets = view
            .subsets
            .iter()
            .map(|(name, (_, traffic))| ((*name).to_owned(), *traffic));
        ClientPolicy {
            http: self.http(client),
            traffic: view.traffic,
            subsets: subsets.collect(),
        }
    }

    fn http(&mut self, client: Option<&str>) -> Option<Vec<Rule>> {
        if let Some(rules) = self.attached.rules(self.service, client) {
            return Some(rules);
        }
        let claim = self
            .claims
            .iter()
            .find(|claim| claim.visibility.includes(client))?;
        let key = (claim.name, client.map(str::to_owned));
        if !self.lowerings.contains_key(&key) {
            let lowered = lower(self.cluster, self.rules, claim, client, self.findings);
            self.lowerings.insert(key.clone(), lowered);
        }
        let lowered = self.lowerings.get(&key)?;
        lint_ports(self.cluster, self.service, claim, lowered, self.findings);
        Some(lowered.iter().map(|lowered| lowered.rule.clone()).collect())
    }
}

fn lower(
    cluster: &Cluster<'_>,
    rules: &Rules<'_>,
    claim: &Claim<'_>,
    client: Option<&str>,
    findings: &mut Findings,
) -> Vec<Lowered> {
    let mut lowering = Lowering {
        cluster,
        rules,
        subject: claim.subject(),
        client,
        findings,
        otherwise: routes::REFUSED,
    };
    let lowered = lowering.run(&claim.located.value.spec.http);
    reach::lint(&lowered, claim.subject(), findings);
    lowered
}

/// Claims by service, the one in force first.
fn claims<'a>(
    cluster: &Cluster<'a>,
    rules: &Rules<'a>,
    findings: &mut Findings,
) -> BTreeMap<ObjectName, Vec<Claim<'a>>> {
    let mut claims: BTreeMap<ObjectName, Vec<Claim<'a>>> = BTreeMap::new();
    for (name, located) in &cluster.snapshot.virtual_services {
        let spec = &located.value.spec;
        let subject = Subject {
            kind: Kind::VirtualService.name(),
            name,
            origin: located,
        };
        visibility::lint(&spec.export_to, subject, findings);
        if spec.hosts.is_empty() {
            findings.add(
                Code::NoHost,
                subject,
                "spec.hosts",
                "the object has no hosts; write the name of a Service",
            );
        }
        if !includes_mesh(&spec.gateways) {
            let message = "for gateways only; to apply it inside the mesh add mesh to the gateways";
            findings.add(Code::OnlyGateways, subject, "spec.gateways", message);
            continue;
        }
        let claim = |specificity, host_field: &str| Claim {
            name,
            located,
            visibility: Visibility::read(&spec.export_to, &name.namespace),
            specificity,
            host_field: host_field.to_owned(),
        };
        let hosts = spec.hosts.iter().enumerate();
        let mut bound = false;
        for (index, host) in hosts.filter(|_| !spec.http.is_empty()) {
            let field = format!("spec.hosts[{index}]");
            for (service, specificity) in bind(cluster, host, subject, &field, findings) {
                bound = true;
                let list = claims.entry(service).or_default();
                list.push(claim(specificity, &field));
            }
        }
        if !bound {
            // Nobody obeys it, but its author wants to know what is wrong with it.
            let namespace = Some(name.namespace.as_str());
            lower(cluster, rules, &claim(0, ""), namespace, findings);
        }
    }
    claims
        .values_mut()
        .for_each(|list| list.sort_by(|one, two| one.rank().cmp(&two.rank())));
    claims
}

/// Services that a host means, with the length of the host; an exact host is longer than any wildcard.
fn bind(
    cluster: &Cluster<'_>,
    host: &str,
    subject: Subject<'_>,
    field: &str,
    findings: &mut Findings,
) -> Vec<(ObjectName, usize)> {
    match cluster.hosts.resolve(host, &subject.name.namespace) {
        Host::Service { name, partial } => {
            if partial {
                let message = format!("write the full name {}", cluster.hosts.full_name(&name));
                findings.add(Code::PartialHost, subject, field, message);
            }
            vec![(name, usize::MAX)]
        }
        Host::Suffix(suffix) => {
            let all = cluster.services.keys();
            let found = all.filter(|service| cluster.hosts.full_name(service).ends_with(&suffix));
            found
                .map(|service| (service.clone(), suffix.len()))
                .collect()
        }
        Host::Unknown(full) => {
            let message =
                format!("there is no Service {full}; correct the host or create the Service");
            findings.add(Code::HostWithoutService, subject, field, message);
            Vec::new()
        }
    }
}

/// Findings about claims that HTTPRoutes of the same service leave without effect.
fn lint_hidden(service: &LiveService<'_>, claims: &[Claim<'_>], findings: &mut Findings) {
    for claim in claims {
        let message = format!(
            "Service {} has HTTPRoutes, which count instead",
            service.name
        );
        findings.add(
            Code::HiddenByRoute,
            claim.subject(),
            &claim.host_field,
            message,
        );
    }
}

/// Findings about the claims of one service.
fn lint(service: &LiveService<'_>, claims: &[Claim<'_>], findings: &mut Findings) {
    let bytes = |port: &weft_k8s::core::ServicePort| {
        matches!(
            services::protocol(port),
            Protocol::Tcp | Protocol::ServerFirst
        )
    };
    let ports = &service.service().spec.ports;
    for (index, claim) in claims.iter().enumerate() {
        if !ports.is_empty() && ports.iter().filter(|port| port.is_tcp()).all(bytes) {
            let message = format!(
                "Service {} declares no port as HTTP; its connections are carried as bytes",
                service.name
            );
            findings.add(Code::NotHttp, claim.subject(), &claim.host_field, message);
        }
        let rival = claims
            .get(..index)
            .unwrap_or_default()
            .iter()
            .find(|other| {
                let both = (other.visibility == Visibility::Public)
                    == (claim.visibility == Visibility::Public);
                other.specificity == claim.specificity
                    && both
                    && other.visibility.overlaps(&claim.visibility)
            });
        if let Some(rival) = rival.filter(|rival| rival.name != claim.name) {
            let message = format!(
                "VirtualService {} is in force for Service {}, and this one is not; merge the two",
                rival.name, service.name
            );
            findings.add(
                Code::ConflictingHosts,
                claim.subject(),
                &claim.host_field,
                message,
            );
        }
    }
}

/// Findings about destinations without a port that lack a port the host has.
fn lint_ports(
    cluster: &Cluster<'_>,
    service: &LiveService<'_>,
    claim: &Claim<'_>,
    lowered: &[Lowered],
    findings: &mut Findings,
) {
    let own = tcp_ports(service);
    let alone = claim.located.value.spec.hosts.len() == 1;
    for (lowered, condition) in lowered
        .iter()
        .flat_map(|l| l.rule.matches.iter().map(move |m| (l, m)))
    {
        // With several hosts the port may be another host's.
        if let Some(port) = condition.port.filter(|port| alone && !own.contains(port)) {
            let message = format!("Service {} has no TCP port {port}", service.name);
            let field = format!("spec.http[{}].match", lowered.index);
            findings.add(Code::NeverMatches, claim.subject(), &field, message);
        }
    }
    for Lowered { index, rule } in lowered {
        let Action::Forward(backends) = &rule.action else {
            continue;
        };
        let all: Option<BTreeSet<u16>> = rule
            .matches
            .iter()
            .map(|condition| condition.port)
            .collect();
        let named = all.filter(|ports| !ports.is_empty());
        let dialled = named.unwrap_or_else(|| own.iter().copied().collect());
        for (number, backend) in backends.iter().enumerate() {
            let Ok(target) = &backend.target else {
                continue;
            };
            let Some(destination) = cluster
                .services
                .get(&target.name)
                .filter(|_| target.port.is_none())
            else {
                continue;
            };
            let there = tcp_ports(destination);
            let missing: Vec<String> = dialled
                .iter()
                .filter(|port| !there.contains(port))
                .map(ToString::to_string)
                .collect();
            if !missing.is_empty() {
                let message = format!(
                    "Service {} has several ports and not {}, which callers of {} dial; set port.number",
                    target.name,
                    missing.join(", "),
                    service.name
                );
                let field = format!("spec.http[{index}].route[{number}].destination");
                findings.add(Code::PortNeeded, claim.subject(), &field, message);
            }
        }
    }
}
