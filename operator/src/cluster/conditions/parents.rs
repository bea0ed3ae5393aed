//! Status of an HTTPRoute or GRPCRoute: one entry for each Service that it names as a parent (GEP-1294). Entries of other controllers
//! are theirs and stay as they are.

use serde_json::{Value, json};
use weft_compile::{Code, Diagnostic, Level};
use weft_k8s::gateway::ParentRef;

use super::{ACCEPTED, PROGRAMMED, Status, complete, quote, said, taken};
use crate::source::{Condition, Observed};

/// Who we are in a route's status.
pub(crate) const CONTROLLER: &str = "weft.mesh/operator";
/// All backends that the route names are there.
const RESOLVED: &str = "ResolvedRefs";

/// What the status shall be, unless it is so already.
pub(super) fn status(
    parents: &[ParentRef],
    findings: &[&Diagnostic],
    programmed: &Condition,
    observed: &Observed,
    now: &str,
) -> Option<Status> {
    let is_ours = |entry: &&Value| entry.get("controllerName") == Some(&json!(CONTROLLER));
    let unenforced = findings
        .iter()
        .find(|finding| finding.code == Code::GrpcNotEnforced);
    let programmed = match unenforced {
        Some(finding) => said("False", "NotEnforced", finding.message.clone()),
        None => programmed.clone(),
    };
    let (before, mut all): (Vec<&Value>, Vec<&Value>) = observed.parents.iter().partition(is_ours);
    let ours: Vec<Value> = parents
        .iter()
        .enumerate()
        .filter(|(_, parent)| parent.is_service())
        .map(|(index, parent)| {
            let reference = serde_json::to_value(parent).unwrap_or_default();
            let carried = carried(&before, parent);
            let conditions = [
                (ACCEPTED, accepted(index, findings)),
                (RESOLVED, resolved(findings)),
                (PROGRAMMED, programmed.clone()),
            ];
            let conditions = conditions
                .map(|(kind, said)| complete(kind, said, (&carried, observed.generation), now));
            json!({"parentRef": reference, "controllerName": CONTROLLER, "conditions": conditions})
        })
        .collect();
    let same =
        ours.len() == before.len() && ours.iter().zip(&before).all(|(new, old)| same(new, old));
    if same {
        return None;
    }
    all.extend(&ours);
    Some(Status::Parents(all.into_iter().cloned().collect()))
}

/// Conditions that we have written for a parent.
fn carried(before: &[&Value], parent: &ParentRef) -> Vec<Condition> {
    let of_parent = before
        .iter()
        .find(|entry| reference(entry).as_ref() == Some(parent));
    of_parent.map(|entry| conditions(entry)).unwrap_or_default()
}

fn reference(entry: &Value) -> Option<ParentRef> {
    serde_json::from_value(entry.get("parentRef")?.clone()).ok()
}

fn conditions(entry: &Value) -> Vec<Condition> {
    let list = entry.get("conditions").cloned().unwrap_or_default();
    serde_json::from_value(list).unwrap_or_default()
}

/// Compared by what they mean: the API server may write defaults into an entry.
fn same(new: &Value, old: &Value) -> bool {
    reference(new) == reference(old) && conditions(new) == conditions(old)
}

fn is_reference(code: Code) -> bool {
    matches!(
        code,
        Code::HostNotFound | Code::PortNotFound | Code::InvalidBackendKind
    )
}

fn accepted(index: usize, findings: &[&Diagnostic]) -> Condition {
    let field = format!("spec.parentRefs[{index}]");
    let missing = findings
        .iter()
        .find(|finding| finding.code == Code::NoParent && finding.field == field);
    if let Some(finding) = missing {
        return said("False", "NoMatchingParent", finding.message.clone());
    }
    let wrong = |finding: &&&Diagnostic| {
        finding.level == Level::Error
            && finding.code != Code::NoParent
            && !is_reference(finding.code)
    };
    let errors: Vec<_> = findings.iter().filter(wrong).collect();
    if !errors.is_empty() {
        return said("False", "UnsupportedValue", quote(errors.into_iter()));
    }
    // The Gateway API knows no other reason for a route that is accepted.
    taken(findings, "Accepted")
}

fn resolved(findings: &[&Diagnostic]) -> Condition {
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| is_reference(finding.code))
        .collect();
    let reason = match wrong.first().map(|finding| finding.code) {
        None => return said("True", RESOLVED, "all backends are there".to_owned()),
        Some(Code::InvalidBackendKind) => "InvalidKind",
        Some(_) => "BackendNotFound",
    };
    said("False", reason, quote(wrong.into_iter()))
}
