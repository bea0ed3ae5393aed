//! Where a route sends: service, port and subset, resolved here so that the proxy meets no dangling name.

use weft_k8s::istio::Destination;
use weft_model::id::ObjectName;
use weft_model::route::{BackendTarget, SubsetRef};

use crate::cluster::LiveService;
use crate::code::Code;
use crate::host::Host;
use crate::pass::routes::{Lowering, tcp_ports};

impl Lowering<'_, '_> {
    /// The service, port and subset that a destination names, or why there is none, in words.
    pub(crate) fn target(
        &mut self,
        given: &Destination,
        field: &str,
    ) -> Result<BackendTarget, String> {
        let name = self.service(&given.host, &format!("{field}.host"))?;
        let cluster = self.cluster;
        let Some(service) = cluster.services.get(&name) else {
            return Err(format!("Service {name} is gone"));
        };
        let port = self.port(given, service, field)?;
        let subset = if given.subset.is_empty() {
            None
        } else {
            Some(self.subset(given, service, field)?)
        };
        Ok(BackendTarget {
            service: service.id,
            name,
            port,
            subset,
        })
    }

    /// The same for somebody who gets copies: without a target there is nothing to do.
    pub(crate) fn mirrored(&mut self, given: &Destination, field: &str) -> Option<BackendTarget> {
        let otherwise = std::mem::replace(&mut self.otherwise, "nothing is mirrored");
        let target = self.target(given, field).ok();
        self.otherwise = otherwise;
        target
    }

    fn service(&mut self, host: &str, field: &str) -> Result<ObjectName, String> {
        let own = self.subject.name.namespace.clone();
        let words = match self.cluster.hosts.resolve(host, &own) {
            Host::Service { name, partial } => {
                if partial {
                    let message = format!(
                        "write the full name {}",
                        self.cluster.hosts.full_name(&name)
                    );
                    self.add(Code::PartialHost, field, message);
                }
                return Ok(name);
            }
            Host::Suffix(_) => format!("a destination is one service; {host} stands for many"),
            Host::Unknown(_) if host.is_empty() => "the destination has no host".to_owned(),
            Host::Unknown(full) => self.no_such_service(host, &full, &own),
        };
        self.add(
            Code::HostNotFound,
            field,
            format!("{words}; {}", self.otherwise),
        );
        Err(words)
    }

    fn no_such_service(&self, host: &str, full: &str, namespace: &str) -> String {
        let external = self
            .cluster
            .snapshot
            .services
            .iter()
            .find(|(name, service)| {
                let object = crate::cluster::object(name);
                service.value.is_external_name() && self.cluster.hosts.full_name(&object) == full
            });
        if let Some((name, _)) = external {
            return format!("Service {name} is of type ExternalName, which is not honoured yet");
        }
        let elsewhere = self
            .cluster
            .services
            .keys()
            .find(|name| name.name == host && name.namespace != namespace);
        let hint = elsewhere.map(|name| {
            format!(
                "; for the one in namespace {} write {}",
                name.namespace,
                self.cluster.hosts.full_name(name)
            )
        });
        format!("there is no Service {full}{}", hint.unwrap_or_default())
    }

    fn port(
        &mut self,
        given: &Destination,
        service: &LiveService<'_>,
        field: &str,
    ) -> Result<Option<u16>, String> {
        let ports = tcp_ports(service);
        let Some(selector) = &given.port else {
            return Ok(match ports.as_slice() {
                [only] => Some(*only),
                _ => None,
            });
        };
        let found = ports
            .iter()
            .copied()
            .find(|port| u32::from(*port) == selector.number);
        found.map(Some).ok_or_else(|| {
            let listed = ports
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let words = format!(
                "Service {} has no TCP port {}; it has {listed}",
                service.name, selector.number
            );
            self.add(
                Code::PortNotFound,
                &format!("{field}.port.number"),
                format!("{words}; {}", self.otherwise),
            );
            words
        })
    }

    fn subset(
        &mut self,
        given: &Destination,
        service: &LiveService<'_>,
        field: &str,
    ) -> Result<SubsetRef, String> {
        let view = self.rules.view(&service.name, self.client);
        if let Some((labels, _)) = view.subsets.get(given.subset.as_str()) {
            let selector = weft_model::policy::selector(labels);
            return Ok(SubsetRef {
                name: given.subset.clone(),
                selector,
            });
        }
        let known = view.subsets.keys().copied().collect::<Vec<_>>().join(", ");
        let known = match known.as_str() {
            "" => "no DestinationRule defines subsets for it".to_owned(),
            known => format!("its DestinationRule has {known}"),
        };
        // The words name the callers only where they see other subsets than everybody else.
        let everybody = self.rules.view(&service.name, None);
        let whose = match self.client {
            Some(client) if !view.subsets.keys().eq(everybody.subsets.keys()) => {
                format!(" for callers in namespace {client}")
            }
            _ => String::new(),
        };
        let words = format!(
            "Service {} has no subset {}{whose}; {known}",
            service.name, given.subset
        );
        self.add(
            Code::SubsetNotFound,
            &format!("{field}.subset"),
            format!("{words}; {}", self.otherwise),
        );
        Err(words)
    }
}
