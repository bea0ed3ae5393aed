//! HTTPRoutes of Services: which routes hold for a service's port and a client's namespace (GEP-1294), and their rules in
//! the order of the API's precedence.
//!
//! A route in the Service's own namespace holds for all clients (producer); one in another namespace holds for the
//! clients of that namespace alone and there replaces the producer's (consumer). Both are judged port by port, and a port
//! without any route stays as it is without routes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_k8s::gateway::{HTTPRoute, ParentRef};
use weft_k8s::{Kind, Located, Name};
use weft_model::id::ObjectName;
use weft_model::matcher::{RequestMatch, StringMatch};
use weft_model::reason::Reason;
use weft_model::route::{Action, Backend, BackendTarget, HeaderOps, RouteId, Rule};

use crate::cluster::{Cluster, LiveService};
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::http_route::lower;
use crate::pass::routes::tcp_ports;

/// A rule with one match, and its place among all of them: smaller is tried first.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    rank: Rank,
    rule: Rule,
}

/// Kind of the path condition, its length, method, numbers of headers and query parameters, age, name, rule, match.
type Rank = (
    (u8, Reverse<usize>),
    bool,
    Reverse<usize>,
    Reverse<usize>,
    (Option<String>, Name),
    (usize, usize),
);

/// Which clients a route holds for; `None`: those of all namespaces.
type Group = Option<String>;

/// What is attached to the ports of services.
#[derive(Default)]
pub(crate) struct Attached {
    by_service: BTreeMap<ObjectName, BTreeMap<u16, BTreeMap<Group, Vec<Ranked>>>>,
}

impl Attached {
    /// Attaches all routes.
    pub(crate) fn build(cluster: &Cluster<'_>, findings: &mut Findings) -> Self {
        let mut attached = Self::default();
        for (name, located) in &cluster.snapshot.http_routes {
            attached.route(cluster, name, located, findings);
        }
        let ports = attached
            .by_service
            .values_mut()
            .flat_map(BTreeMap::values_mut);
        for list in ports.flat_map(BTreeMap::values_mut) {
            list.sort_by(|one, two| one.rank.cmp(&two.rank));
        }
        attached
    }

    /// Whether any route holds for the service.
    pub(crate) fn has(&self, service: &ObjectName) -> bool {
        self.by_service.contains_key(service)
    }

    /// Whether any route holds for a port of the service.
    pub(crate) fn holds(&self, service: &ObjectName, port: u16) -> bool {
        let ports = self.by_service.get(service);
        ports.is_some_and(|ports| ports.contains_key(&port))
    }

    /// Namespaces whose clients obey routes of their own.
    pub(crate) fn special(&self, service: &ObjectName) -> BTreeSet<&str> {
        let ports = self.by_service.get(service).into_iter().flatten();
        let groups = ports.flat_map(|(_, groups)| groups.keys());
        groups.filter_map(|group| group.as_deref()).collect()
    }

    /// The rules that clients of a namespace obey (`None`: of all that have none of their own); `None`: no route at all.
    pub(crate) fn rules(
        &self,
        service: &LiveService<'_>,
        client: Option<&str>,
    ) -> Option<Vec<Rule>> {
        let ports = self.by_service.get(&service.name)?;
        let mut rules = Vec::new();
        let mut any = false;
        for port in tcp_ports(service) {
            let groups = ports.get(&port);
            let own = client.and_then(|client| groups?.get(&Some(client.to_owned())));
            match own.or_else(|| groups?.get(&None)) {
                Some(list) => {
                    any = true;
                    rules.extend(list.iter().map(|ranked| on_port(&ranked.rule, port)));
                }
                None => rules.push(implicit(service, port)),
            }
        }
        any.then_some(rules)
    }

    fn route(
        &mut self,
        cluster: &Cluster<'_>,
        name: &Name,
        located: &Located<Arc<HTTPRoute>>,
        findings: &mut Findings,
    ) {
        let subject = Subject {
            kind: Kind::HTTPRoute.name(),
            name,
            origin: located,
        };
        let spec = &located.value.spec;
        let mut fronts = BTreeSet::new();
        for (index, parent) in spec.parent_refs.iter().enumerate() {
            let field = format!("spec.parentRefs[{index}]");
            match front(cluster, parent, &name.namespace) {
                Ok(Some((service, ports))) => {
                    fronts.extend(ports.into_iter().map(|port| (service.clone(), port)));
                }
                Ok(None) => {}
                Err(message) => findings.add(Code::NoParent, subject, &field, message),
            }
        }
        if !spec.parent_refs.iter().any(ParentRef::is_service) {
            return;
        }
        if !spec.hostnames.is_empty() {
            let message = "host names mean nothing on a Service; match the header Host instead";
            findings.add(Code::FieldNotHonoured, subject, "spec.hostnames", message);
        }
        let lowered = lower(cluster, subject, spec, findings);
        let age = located.value.metadata.creation_timestamp.clone();
        let ranked: Vec<Ranked> = lowered
            .into_iter()
            .map(|(at, rule)| Ranked {
                rank: rank(&rule, (age.clone(), name.clone()), at),
                rule,
            })
            .collect();
        for (service, port) in fronts {
            let consumer = service.namespace != name.namespace;
            let group = consumer.then(|| name.namespace.clone());
            let ports = self.by_service.entry(service).or_default();
            let list = ports.entry(port).or_default().entry(group).or_default();
            list.extend(ranked.iter().cloned());
        }
    }
}

/// The service and the ports that a reference means; `None` when it is no Service, and so not ours.
pub(crate) fn front(
    cluster: &Cluster<'_>,
    parent: &ParentRef,
    own: &str,
) -> Result<Option<(ObjectName, Vec<u16>)>, String> {
    if !parent.is_service() {
        return Ok(None);
    }
    let namespace = parent.namespace.as_deref().unwrap_or(own);
    let name = ObjectName::new(namespace, &parent.name);
    let Some(service) = cluster.services.get(&name) else {
        return Err(format!(
            "there is no Service {name} that requests could be sent to; create it or correct the name"
        ));
    };
    if service.service().is_headless() {
        return Err(format!(
            "Service {name} is headless: requests to it go to its pods, past any route"
        ));
    }
    let ports = tcp_ports(service);
    match parent.port {
        None => Ok(Some((name, ports))),
        Some(port) if ports.contains(&port) => Ok(Some((name, vec![port]))),
        Some(port) => Err(format!("Service {name} has no TCP port {port}")),
    }
}

/// The API's precedence: the more a match says, the earlier it is tried, then the older route, then its name.
fn rank(rule: &Rule, route: (Option<String>, Name), at: (usize, usize)) -> Rank {
    let block = rule.matches.first().cloned().unwrap_or_default();
    let path = match &block.path {
        Some(StringMatch::Exact(path)) => (0, Reverse(path.len())),
        Some(StringMatch::Regex(pattern)) => (1, Reverse(pattern.len())),
        Some(StringMatch::PathPrefix(path) | StringMatch::Prefix(path)) => (2, Reverse(path.len())),
        Some(StringMatch::Present) | None => (3, Reverse(0)),
    };
    (
        path,
        block.method.is_none(),
        Reverse(block.headers.len()),
        Reverse(block.query.len()),
        route,
        at,
    )
}

fn on_port(rule: &Rule, port: u16) -> Rule {
    let blocks = rule.matches.iter().cloned();
    Rule {
        matches: blocks
            .map(|block| RequestMatch {
                port: Some(port),
                ..block
            })
            .collect(),
        ..rule.clone()
    }
}

/// What a port without routes does beside one that has some: the service itself.
fn implicit(service: &LiveService<'_>, port: u16) -> Rule {
    Rule {
        id: RouteId {
            kind: Kind::Service.name().to_owned(),
            object: service.name.clone(),
            rule: port.to_string(),
        },
        matches: vec![RequestMatch {
            port: Some(port),
            ..RequestMatch::default()
        }],
        action: Action::Forward(vec![Backend {
            weight: 1,
            target: Ok(BackendTarget {
                service: service.id,
                name: service.name.clone(),
                port: Some(port),
                subset: None,
            }),
            request: HeaderOps::default(),
            response: HeaderOps::default(),
            mirrors: Vec::new(),
        }]),
        unresolved: Reason::NoBackend,
        request: HeaderOps::default(),
        response: HeaderOps::default(),
        rewrite: None,
        timeout: None,
        retry: None,
        mirrors: Vec::new(),
        cors: None,
        fault: None,
    }
}
