//! What the manifests say and Weft does not do, by name: fields, kinds, and objects written twice.

use std::collections::BTreeMap;

use weft_k8s::gateway::ParentRef;
use weft_k8s::{Kind, Located, Name, Snapshot, Unread};

use crate::code::Code;
use crate::diagnostic::{Findings, Origin, Subject};
use crate::pass::known_fields::{FIELDS, NAMES};
use crate::pass::near::{distance, nearest};

/// Groups whose objects are policy of a mesh: one of them without effect must be named.
const POLICY_GROUPS: [&str; 8] = [
    "networking.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "gateway.networking.k8s.io",
    "split.smi-spec.io",
    "access.smi-spec.io",
    "specs.smi-spec.io",
    "policy.weft.mesh",
];
/// Groups whose objects protect.
const SECURITY_GROUPS: [&str; 2] = ["security.istio.io", "access.smi-spec.io"];

/// All findings of this kind.
pub(crate) fn run(snapshot: &Snapshot, findings: &mut Findings) {
    fields(
        Kind::VirtualService,
        &snapshot.virtual_services,
        findings,
        |_| true,
    );
    fields(
        Kind::DestinationRule,
        &snapshot.destination_rules,
        findings,
        |_| true,
    );
    // Routes of gateways only are not ours to judge.
    let ours = |parents: &[ParentRef]| parents.iter().any(ParentRef::is_service);
    fields(Kind::HTTPRoute, &snapshot.http_routes, findings, |route| {
        ours(&route.spec.parent_refs)
    });
    fields(Kind::GRPCRoute, &snapshot.grpc_routes, findings, |route| {
        ours(&route.spec.parent_refs)
    });
    for ((_, name), located) in &snapshot.others {
        kind(
            &located.value,
            Subject {
                kind: &located.value.kind,
                name,
                origin: located,
            },
            findings,
        );
    }
    duplicates(snapshot, findings);
}

/// What nobody has read of the objects of one kind, of those that concern us.
fn fields<T>(
    kind: Kind,
    objects: &BTreeMap<Name, Located<T>>,
    findings: &mut Findings,
    concerns: impl Fn(&T) -> bool,
) {
    for (name, located) in objects {
        if !concerns(&located.value) {
            continue;
        }
        let subject = Subject {
            kind: kind.name(),
            name,
            origin: located,
        };
        for unread in located.unread.iter() {
            field(kind, unread, subject, findings);
        }
    }
}

fn field(kind: Kind, unread: &Unread, subject: Subject<'_>, findings: &mut Findings) {
    let plain =
        without_indices(&unread.path).replace("spec.subsets[].trafficPolicy", "spec.trafficPolicy");
    if let Some((_, _, note)) = FIELDS
        .iter()
        .find(|(known, path, _)| *known == kind && *path == plain)
    {
        return findings.add(
            Code::FieldNotHonoured,
            subject,
            &unread.path,
            format!("not honoured yet: {note}"),
        );
    }
    let name = plain.rsplit('.').next().unwrap_or_default();
    let hint = if NAMES.contains(&name) {
        "a field of this name belongs elsewhere: check the indentation".to_owned()
    } else {
        match nearest(name, NAMES) {
            Some(near) => format!("did you mean {near}?"),
            None => "remove it, or correct its name".to_owned(),
        }
    };
    findings.add(
        Code::UnknownField,
        subject,
        &unread.path,
        format!("{kind} has no such field; {hint}"),
    );
}

fn kind(other: &weft_k8s::Other, subject: Subject<'_>, findings: &mut Findings) {
    let group = other.group();
    if let Some((kind, near_group)) = misspelt(&other.kind, group) {
        let version = kind.versions().first().copied().unwrap_or_default();
        let api_version = if near_group.is_empty() {
            version.to_owned()
        } else {
            format!("{near_group}/{version}")
        };
        let message =
            format!("not used; did you mean kind: {kind} with apiVersion: {api_version}?");
        return findings.add(Code::UnknownKind, subject, "", message);
    }
    if SECURITY_GROUPS.contains(&group) {
        let message = format!(
            "{} is not enforced yet: what it forbids is not forbidden",
            other.kind
        );
        findings.add(Code::SecurityNotHonoured, subject, "", message);
    } else if POLICY_GROUPS.contains(&group) {
        findings.add(
            Code::KindNotHonoured,
            subject,
            "",
            format!("{} is not honoured yet and has no effect", other.kind),
        );
    }
}

/// The kind that was probably meant.
fn misspelt(word: &str, group: &str) -> Option<(Kind, &'static str)> {
    const FAR: usize = 3;
    Kind::ALL.iter().copied().find_map(|kind| {
        let same_word = kind.name() == word;
        let near_word = kind.name().len() > FAR * 2 && distance(word, kind.name()) < FAR;
        let near_group = group.is_empty() || distance(group, kind.group()) <= FAR;
        ((near_word && kind.group() == group) || (same_word && near_group))
            .then(|| (kind, kind.group()))
    })
}

fn duplicates(snapshot: &Snapshot, findings: &mut Findings) {
    struct At<'a>(&'a weft_k8s::Place);
    impl Origin for At<'_> {
        fn place(&self) -> &weft_k8s::Place {
            self.0
        }

        fn line_of(&self, _: &str) -> u32 {
            self.0.line
        }
    }
    for duplicate in &snapshot.duplicates {
        let Some(used) = snapshot.place(duplicate.kind, &duplicate.name) else {
            continue;
        };
        let name: &Name = &duplicate.name;
        let subject = Subject {
            kind: duplicate.kind.name(),
            name,
            origin: &At(&duplicate.dropped),
        };
        let message = format!("written twice; the one at {used} is used");
        findings.add(Code::Duplicate, subject, "", message);
    }
}

fn without_indices(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => {
                inside = true;
                plain.push('[');
            }
            ']' => {
                inside = false;
                plain.push(']');
            }
            c if !(inside && c.is_ascii_digit()) => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        assert_eq!(nearest("per_try_timeout", NAMES), Some("perTryTimeout"));
        assert_eq!(nearest("timeouts", NAMES), Some("timeout"));
        assert_eq!(nearest("completelyElse", NAMES), None);
        assert_eq!(
            misspelt("VirtualServce", "networking.istio.io").map(|(kind, _)| kind),
            Some(Kind::VirtualService)
        );
        assert_eq!(
            misspelt("VirtualService", "").map(|(kind, _)| kind),
            Some(Kind::VirtualService)
        );
        assert_eq!(misspelt("Service", "serving.knative.dev"), None);
        assert_eq!(misspelt("Role", "rbac.authorization.k8s.io"), None);
        assert_eq!(
            without_indices("spec.http[10].route[2].x"),
            "spec.http[].route[].x"
        );
    }
}
