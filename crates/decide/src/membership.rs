//! Which service a request that arrived at a pod's own port was meant for, on the server's node.

use weft_model::id::ObjectName;
use weft_model::workload::{Membership, Workload};

/// The service by which `port` of `workload` was reached: the one that `authority` names, else the first.
///
/// `authority` is only a hint among the services that select this pod and port, never a way to name another service.
/// Empty where the protocol has none.
#[must_use]
pub fn membership<'w>(
    workload: &'w Workload,
    port: u16,
    authority: &str,
) -> Option<&'w Membership> {
    let mut candidates = workload
        .services
        .iter()
        .filter(|member| member.target_port == port);
    let first = candidates.next()?;
    let (host, authority_port) = split_authority(authority);
    let rank = |member: &Membership| {
        // An equal name and port is better than an equal name: one service may reach a pod port by two of its own.
        u8::from(names(&member.service, host)) * (1 + u8::from(authority_port == Some(member.port)))
    };
    let mut best = (rank(first), first);
    for member in candidates {
        let score = rank(member);
        if score > best.0 {
            best = (score, member);
        }
    }
    Some(best.1)
}

fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        // Plain HTTP's own port (RFC 9110 section 4.2.1).
        None => (authority, Some(80)),
    }
}

/// Whether `host` is `name`, `name.namespace`, `name.namespace.svc` or a longer name below that.
fn names(service: &ObjectName, host: &str) -> bool {
    let mut parts = host.split('.');
    parts.next() == Some(service.name.as_str())
        && parts.next().is_none_or(|part| part == service.namespace)
        && parts.next().is_none_or(|part| part == "svc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::workload;
    use weft_model::protocol::Protocol;

    fn reached() -> Workload {
        let member = |name: &str, port: u16, target_port: u16| Membership {
            service: ObjectName::new("shop", name),
            port,
            target_port,
            protocol: Protocol::Http,
        };
        let mut reached = workload(1, "shop", "reviews-v1");
        reached.services = vec![
            member("reviews", 80, 9080),
            member("reviews", 9080, 9080),
            member("reviews-canary", 80, 9080),
            member("reviews-metrics", 9090, 9090),
        ];
        reached
    }

    #[test]
    fn the_authority_chooses_among_services_of_the_port() {
        let reached = reached();
        for (authority, name, port) in [
            ("reviews-canary", "reviews-canary", 80),
            ("reviews-canary.shop:80", "reviews-canary", 80),
            (
                "reviews-canary.shop.svc.cluster.local",
                "reviews-canary",
                80,
            ),
            ("reviews:9080", "reviews", 9080),
            ("reviews:80", "reviews", 80),
            ("", "reviews", 80),
            ("10.244.1.5:9080", "reviews", 80),
            ("reviews-canary.other", "reviews", 80),
            ("reviews-metrics", "reviews", 80),
        ] {
            let found = membership(&reached, 9080, authority).unwrap();
            assert_eq!(
                (found.service.name.as_str(), found.port),
                (name, port),
                "{authority}"
            );
        }
    }

    #[test]
    fn a_port_that_no_service_reaches_has_none() {
        assert!(membership(&reached(), 1234, "reviews").is_none());
    }
}
