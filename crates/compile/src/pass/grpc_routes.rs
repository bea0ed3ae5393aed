//! GRPCRoutes of Services: checked as far as their shape goes, and said to be without effect.
//!
//! gRPC needs HTTP/2, which is carried as bytes so far. A route that only looks accepted would be worse than none: each one
//! is named, with what its requests do instead, and with the HTTPRoute that holds for the same port meanwhile.

use weft_k8s::gateway::{Filter, GRPCRoute, ParentRef};
use weft_k8s::{Kind, Located};

use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::backend_ref::{self, Unresolved};
use crate::pass::expression;
use crate::pass::http_routes::{Attached, front};

/// Filters that a GRPCRoute may have.
const FILTERS: [&str; 3] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
];

/// Findings about all GRPCRoutes; `attached` are the HTTPRoutes.
pub(crate) fn run(cluster: &Cluster<'_>, attached: &Attached, findings: &mut Findings) {
    for (name, located) in &cluster.snapshot.grpc_routes {
        let subject = Subject {
            kind: Kind::GRPCRoute.name(),
            name,
            origin: located as &Located<_>,
        };
        let spec = &located.value.spec;
        if !spec.parent_refs.iter().any(ParentRef::is_service) {
            continue;
        }
        let mut checking = Checking {
            cluster,
            subject,
            findings,
        };
        checking.parents(&spec.parent_refs, attached);
        checking.rules(&located.value);
        let message = "GRPCRoute is not enforced yet, because HTTP/2 is carried as bytes: requests go to the Service as if the route were not there";
        findings.add(Code::GrpcNotEnforced, subject, "", message);
    }
}

struct Checking<'a, 'b> {
    cluster: &'b Cluster<'a>,
    subject: Subject<'b>,
    findings: &'b mut Findings,
}

impl Checking<'_, '_> {
    fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.findings.add(code, self.subject, field, message);
    }

    fn parents(&mut self, parents: &[ParentRef], attached: &Attached) {
        let own = self.subject.name.namespace.clone();
        for (index, parent) in parents.iter().enumerate() {
            let field = format!("spec.parentRefs[{index}]");
            match front(self.cluster, parent, &own) {
                Err(message) => self.add(Code::NoParent, &field, message),
                Ok(Some((service, ports)))
                    if ports.iter().any(|port| attached.holds(&service, *port)) =>
                {
                    let message = format!(
                        "Service {service} has HTTPRoutes on the same port, and they hold; once it is enforced, the GRPCRoute will come before them"
                    );
                    self.add(Code::RouteConflict, &field, message);
                }
                Ok(_) => {}
            }
        }
    }

    fn rules(&mut self, route: &GRPCRoute) {
        for (index, rule) in route.spec.rules.iter().enumerate() {
            let place = format!("spec.rules[{index}]");
            for (number, block) in rule.matches.iter().enumerate() {
                let method = block.method.iter();
                let patterns = method
                    .filter(|method| method.kind == "RegularExpression")
                    .flat_map(|method| [("service", &method.service), ("method", &method.method)]);
                for (part, pattern) in patterns {
                    if let Some(Err(message)) = pattern.as_deref().map(expression::whole) {
                        let field = format!("{place}.matches[{number}].method.{part}");
                        self.add(Code::InvalidMatch, &field, message);
                    }
                }
            }
            self.filters(&rule.filters, &place);
            for (number, backend) in rule.backend_refs.iter().enumerate() {
                let field = format!("{place}.backendRefs[{number}]");
                self.filters(&backend.filters, &field);
                let own = &self.subject.name.namespace;
                let resolved = backend_ref::resolve(self.cluster, own, &backend.object());
                if let Err(Unresolved { code, part, words }) = resolved {
                    self.add(code, &format!("{field}{part}"), words);
                }
            }
        }
    }

    fn filters(&mut self, filters: &[Filter], place: &str) {
        for (index, filter) in filters.iter().enumerate() {
            if !FILTERS.contains(&filter.kind.as_str()) {
                let field = format!("{place}.filters[{index}]");
                let message = format!("the filter {} is not honoured yet", filter.kind);
                self.add(Code::InvalidFilter, &field, message);
            }
        }
    }
}
