//! What a host in a policy means: a service by short or full name, a wildcard, or something that is not ours.

use std::collections::BTreeMap;

use weft_model::id::ObjectName;

/// A host, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A service. `partial`: by a name that is neither short nor full.
    Service { name: ObjectName, partial: bool },
    /// All services whose full name ends with this; empty for `*`.
    Suffix(String),
    /// No service has this full name.
    Unknown(String),
}

/// The names of all services.
pub(crate) struct Hosts {
    domain: String,
    full: BTreeMap<String, ObjectName>,
}

impl Hosts {
    /// All names under the cluster's domain.
    pub(crate) fn new(domain: &str, services: impl Iterator<Item = ObjectName>) -> Self {
        let full = services.map(|name| (full(&name, domain), name)).collect();
        Self {
            domain: domain.to_owned(),
            full,
        }
    }

    /// The full name of a service.
    pub(crate) fn full_name(&self, name: &ObjectName) -> String {
        full(name, &self.domain)
    }

    /// Reads a host as a policy in `namespace` means it. A name without a dot is a service of that namespace.
    pub(crate) fn resolve(&self, host: &str, namespace: &str) -> Host {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(suffix) = host.strip_prefix('*') {
            return Host::Suffix(suffix.to_owned());
        }
        if !host.contains('.') {
            return self.find(format!("{host}.{namespace}.svc.{}", self.domain), false);
        }
        if self.full.contains_key(&host) {
            return self.find(host, false);
        }
        let completed = match host.strip_suffix(".svc") {
            Some(_) => format!("{host}.{}", self.domain),
            None => format!("{host}.svc.{}", self.domain),
        };
        if self.full.contains_key(&completed) {
            self.find(completed, true)
        } else {
            Host::Unknown(host)
        }
    }

    fn find(&self, full: String, partial: bool) -> Host {
        match self.full.get(&full) {
            Some(name) => Host::Service {
                name: name.clone(),
                partial,
            },
            None => Host::Unknown(full),
        }
    }
}

fn full(name: &ObjectName, domain: &str) -> String {
    format!("{}.{}.svc.{domain}", name.name, name.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_istio_users_expect() {
        let reviews = ObjectName::new("shop", "reviews");
        let hosts = Hosts::new("cluster.local", std::iter::once(reviews.clone()));
        let service = |partial| Host::Service {
            name: reviews.clone(),
            partial,
        };
        let rows = [
            ("reviews", "shop", service(false)),
            ("Reviews.", "shop", service(false)),
            (
                "reviews",
                "other",
                Host::Unknown("reviews.other.svc.cluster.local".to_owned()),
            ),
            ("reviews.shop", "other", service(true)),
            ("reviews.shop.svc", "other", service(true)),
            ("reviews.shop.svc.cluster.local", "other", service(false)),
            (
                "example.com",
                "shop",
                Host::Unknown("example.com".to_owned()),
            ),
            ("*", "shop", Host::Suffix(String::new())),
            (
                "*.shop.svc.cluster.local",
                "x",
                Host::Suffix(".shop.svc.cluster.local".to_owned()),
            ),
        ];
        for (host, namespace, expected) in rows {
            assert_eq!(hosts.resolve(host, namespace), expected, "{host}");
        }
    }
}
