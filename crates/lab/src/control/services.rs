//! Cluster addresses of Services: kept where the manifest gives one, otherwise handed out of 10.96.0.0/16 (and
//! fd00:96::/112 for dual-stack Services) and remembered for as long as the Service exists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::object::{Key, Objects, list, of_kind, text};

/// Last host number that is given out: 10.96.255.254.
const LAST: u16 = 0xfffe;

/// Addresses given so far.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    given: BTreeMap<Key, u16>,
    next: u16,
}

impl Addresses {
    /// The Services of `objects` with `spec.clusterIP` and `spec.clusterIPs` filled in.
    pub(crate) fn complete(&mut self, objects: &Objects) -> BTreeMap<Key, Value> {
        let services: Vec<_> = of_kind(objects, "Service").collect();
        self.given.retain(|key, _| objects.contains_key(key));
        let mut taken: BTreeSet<IpAddr> = services.iter().flat_map(|(_, s)| own(s)).collect();
        for number in self.given.values() {
            taken.extend([v4(*number), v6(*number)]);
        }
        services
            .into_iter()
            .map(|(key, service)| (key.clone(), self.filled(key, service, &taken)))
            .collect()
    }

    fn filled(&mut self, key: &Key, service: &Value, taken: &BTreeSet<IpAddr>) -> Value {
        let mut service = service.clone();
        service["metadata"]["namespace"] = json!(key.namespace);
        let kind = text(&service, "/spec/type").unwrap_or("ClusterIP");
        let headless = text(&service, "/spec/clusterIP") == Some("None");
        if kind == "ExternalName" || headless {
            return service;
        }
        let mut ips = own(&service);
        if ips.is_empty() {
            let Some(number) = self.number(key, taken) else {
                return service;
            };
            let families: Vec<&str> = list(&service, "/spec/ipFamilies")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let dual = matches!(
                text(&service, "/spec/ipFamilyPolicy"),
                Some("PreferDualStack" | "RequireDualStack")
            );
            ips = match families.as_slice() {
                ["IPv6"] if !dual => vec![v6(number)],
                ["IPv6", ..] => vec![v6(number), v4(number)],
                ["IPv4", "IPv6"] => vec![v4(number), v6(number)],
                _ if dual => vec![v4(number), v6(number)],
                _ => vec![v4(number)],
            };
        }
        service["spec"]["clusterIP"] = json!(ips.first());
        service["spec"]["clusterIPs"] = json!(ips);
        service
    }

    fn number(&mut self, key: &Key, taken: &BTreeSet<IpAddr>) -> Option<u16> {
        if let Some(number) = self.given.get(key) {
            return Some(*number);
        }
        for _ in 0..LAST {
            self.next = if self.next >= LAST { 1 } else { self.next + 1 };
            let fresh = !self.given.values().any(|n| *n == self.next);
            if fresh && !taken.contains(&v4(self.next)) && !taken.contains(&v6(self.next)) {
                self.given.insert(key.clone(), self.next);
                return Some(self.next);
            }
        }
        None
    }
}

fn v4(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 96, high, low).into()
}

fn v6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number).into()
}

/// Addresses of a Service; none for a headless one.
pub(crate) fn own(service: &Value) -> Vec<IpAddr> {
    let many = list(service, "/spec/clusterIPs")
        .iter()
        .filter_map(Value::as_str);
    let mut ips: Vec<IpAddr> = many.filter_map(|ip| ip.parse().ok()).collect();
    if let Some(ip) = text(service, "/spec/clusterIP").and_then(|ip| ip.parse().ok())
        && !ips.contains(&ip)
    {
        ips.insert(0, ip);
    }
    ips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::parse;

    #[test]
    fn addresses_are_kept_given_and_stay() {
        let text = "
kind: Service
metadata: {name: a}
spec: {clusterIP: 10.96.0.1}
---
kind: Service
metadata: {name: b}
spec: {}
---
kind: Service
metadata: {name: c}
spec: {clusterIP: None}
---
kind: Service
metadata: {name: d}
spec: {ipFamilyPolicy: PreferDualStack}
";
        let mut addresses = Addresses::default();
        let objects: Objects = parse(text).unwrap().into_iter().collect();
        let first = addresses.complete(&objects);
        let ip = |name: &str| own(&first[&Key::new("Service", "default", name)]);
        assert_eq!(ip("a"), ["10.96.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(ip("b").len(), 1);
        assert_ne!(ip("b"), ip("a"));
        assert!(ip("c").is_empty());
        assert!(ip("d").len() == 2 && ip("d")[1].is_ipv6());
        let mut fewer = objects;
        fewer.remove(&Key::new("Service", "default", "a"));
        let d = Key::new("Service", "default", "d");
        assert_eq!(addresses.complete(&fewer)[&d], first[&d]);
    }
}
