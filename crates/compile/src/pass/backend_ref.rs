//! A Gateway API reference to a Service: resolved here, so that the proxy meets no dangling name.
//!
//! Inside a mesh a reference into another namespace needs no ReferenceGrant: whoever may call a Service may route to it
//! (GEP-1324).

use weft_k8s::gateway::ObjectRef;
use weft_model::id::ObjectName;
use weft_model::route::BackendTarget;

use crate::cluster::Cluster;
use crate::code::Code;
use crate::pass::routes::tcp_ports;

/// Why a reference leads nowhere.
pub(crate) struct Unresolved {
    pub(crate) code: Code,
    /// Field within the reference, with its dot.
    pub(crate) part: &'static str,
    pub(crate) words: String,
}

/// The Service and port that a reference of an object in namespace `own` means.
pub(crate) fn resolve(
    cluster: &Cluster<'_>,
    own: &str,
    reference: &ObjectRef,
) -> Result<BackendTarget, Unresolved> {
    let unresolved = |code, part, words| Unresolved { code, part, words };
    if !reference.group.is_empty() || reference.kind != "Service" {
        let words = format!(
            "a backend of kind {} is not known; use a Service",
            reference.kind
        );
        return Err(unresolved(Code::InvalidBackendKind, ".kind", words));
    }
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = ObjectName::new(namespace, &reference.name);
    let Some(service) = cluster.services.get(&name) else {
        let words = format!("there is no Service {name}");
        return Err(unresolved(Code::HostNotFound, ".name", words));
    };
    match reference.port {
        Some(port) if tcp_ports(service).contains(&port) => Ok(BackendTarget {
            service: service.id,
            name,
            port: Some(port),
            subset: None,
        }),
        Some(port) => {
            let words = format!("Service {name} has no TCP port {port}");
            Err(unresolved(Code::PortNotFound, ".port", words))
        }
        None => {
            let words = "a Service needs a port".to_owned();
            Err(unresolved(Code::PortNotFound, "", words))
        }
    }
}
