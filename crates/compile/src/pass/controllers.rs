//! Deployments and their siblings: findings about the pods that they will make, before there are any.

use std::{collections::BTreeMap, sync::Arc};

use weft_k8s::core::Deployment;
use weft_k8s::{Kind, Located, Name, Snapshot};

use crate::diagnostic::{Findings, Subject};
use crate::pass::marks::Marks;
use crate::pass::{capture, mode};

/// All findings of this kind; nothing of controllers goes into the tables.
pub(crate) fn run(snapshot: &Snapshot, findings: &mut Findings) {
    lint(Kind::Deployment, &snapshot.deployments, findings);
    lint(Kind::StatefulSet, &snapshot.stateful_sets, findings);
    lint(Kind::DaemonSet, &snapshot.daemon_sets, findings);
}

fn lint(
    kind: Kind,
    controllers: &BTreeMap<Name, Located<Arc<Deployment>>>,
    findings: &mut Findings,
) {
    for (name, located) in controllers {
        let subject = Subject {
            kind: kind.name(),
            name,
            origin: located,
        };
        let template = &located.value.spec.template;
        let of_pods = Marks::template(subject, &template.metadata);
        mode::lint(of_pods, false, findings);
        capture::read(of_pods, findings);
        capture::probe_ports(&template.spec, of_pods, findings);
        let own = Marks::own(subject, &located.value.metadata);
        own.none_of(
            &capture::KEYS,
            "spec.template.metadata.annotations",
            findings,
        );
        own.none_of(
            &[mode::MODE, mode::ISTIO_MODE],
            "spec.template.metadata.labels",
            findings,
        );
        own.none_of(
            &[mode::ACCESS_LOG],
            "the annotations of the Namespace",
            findings,
        );
    }
}
