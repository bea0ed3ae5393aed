//! The services of a snapshot with their names and ids, looked up by every pass.

use std::{collections::BTreeMap, sync::Arc};

use weft_k8s::core::Service;
use weft_k8s::{Kind, Located, Name, Snapshot};
use weft_model::id::{ObjectName, ServiceId, assign};

use crate::Settings;
use crate::diagnostic::Subject;
use crate::host::Hosts;

/// A service that has addresses of its own in the cluster (all but ExternalName).
pub(crate) struct LiveService<'a> {
    pub(crate) id: ServiceId,
    pub(crate) name: ObjectName,
    pub(crate) key: &'a Name,
    pub(crate) located: &'a Located<Arc<Service>>,
}

impl<'a> LiveService<'a> {
    pub(crate) fn service(&self) -> &'a Service {
        &self.located.value
    }

    pub(crate) fn subject(&self) -> Subject<'a> {
        Subject {
            kind: Kind::Service.name(),
            name: self.key,
            origin: self.located,
        }
    }
}

/// The services and their names: what policy is compiled against.
pub(crate) struct Cluster<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) settings: &'a Settings,
    pub(crate) services: BTreeMap<ObjectName, LiveService<'a>>,
    pub(crate) hosts: Hosts,
}

impl<'a> Cluster<'a> {
    pub(crate) fn build(snapshot: &'a Snapshot, settings: &'a Settings) -> Self {
        let services = live_services(snapshot);
        let hosts = Hosts::new(&settings.cluster_domain, services.keys().cloned());
        Self {
            snapshot,
            settings,
            services,
            hosts,
        }
    }
}

/// The vocabulary of the tables for a name of the manifests.
pub(crate) fn object(name: &Name) -> ObjectName {
    ObjectName::new(&name.namespace, &name.name)
}

fn live_services(snapshot: &Snapshot) -> BTreeMap<ObjectName, LiveService<'_>> {
    let live: Vec<_> = snapshot
        .services
        .iter()
        .filter(|(_, service)| !service.value.is_external_name())
        .collect();
    let ids = assign(live.iter().map(|(name, _)| object(name)));
    live.into_iter()
        .filter_map(|(key, located)| {
            let name = object(key);
            let id = ServiceId(*ids.get(&name)?);
            Some((
                name.clone(),
                LiveService {
                    id,
                    name,
                    key,
                    located,
                },
            ))
        })
        .collect()
}
