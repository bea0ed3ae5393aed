//! Status of an XMesh that names us as its controller: that it is taken, and the features of the Gateway API that tests of
//! ours or of the upstream suite prove. Any other mesh's object is not ours to write.

use serde_json::{Value, json};
use weft_k8s::gateway::XMeshSpec;

use super::parents::CONTROLLER;
use super::{ACCEPTED, PROGRAMMED, Status, complete, said};
use crate::source::{Condition, Observed};

/// What we can do, in the API's words and order (ascending).
const FEATURES: [&str; 34] = [
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
];

/// What the status shall be, unless it is so already or the mesh is somebody else's.
pub(super) fn status(
    mesh: &XMeshSpec,
    programmed: Condition,
    observed: &Observed,
    now: &str,
) -> Option<Status> {
    if mesh.controller_name != CONTROLLER {
        return None;
    }
    let accepted = match &mesh.parameters_ref {
        None => said("True", "Accepted", "accepted".to_owned()),
        Some(parameters) => {
            let message = format!(
                "{} {} is not read: the mesh has no such settings; remove spec.parametersRef",
                parameters.kind, parameters.name
            );
            said("False", "InvalidParameters", message)
        }
    };
    let carried = (&observed.conditions[..], observed.generation);
    let conditions = [(ACCEPTED, accepted), (PROGRAMMED, programmed)];
    let conditions = conditions.map(|(kind, said)| complete(kind, said, carried, now));
    let features: Vec<Value> = FEATURES.iter().map(|name| json!({"name": name})).collect();
    let same = conditions
        .iter()
        .all(|new| observed.conditions.contains(new))
        && observed.features == features;
    (!same).then(|| Status::Mesh(conditions.into(), features))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_sorted_and_few_enough_for_the_api() {
        assert!(FEATURES.is_sorted() && FEATURES.len() <= 64);
    }
}
