//! EndpointSlices of Services with a selector, as the endpoint slice controller writes them: one per address family and
//! set of resolved ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::control::pods::ports as container_ports;
use crate::object::{Key, list, map, selects, text};
use crate::view::Pod;

/// What the slices need to know of a pod.
pub(crate) struct Member<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) object: &'a Value,
}

/// All slices of one Service (already with cluster addresses).
pub(crate) fn of_service(key: &Key, service: &Value, pods: &[Member<'_>]) -> Vec<(Key, Value)> {
    let selector = map(service, "/spec/selector");
    let publish_all = service
        .pointer("/spec/publishNotReadyAddresses")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut groups: BTreeMap<(bool, String), (Value, Vec<Value>)> = BTreeMap::new();
    for member in pods {
        let pod = member.pod;
        if pod.namespace != key.namespace || pod.ips.is_empty() || !selects(&selector, &pod.labels)
        {
            continue;
        }
        let ports = resolved(service, member.object);
        for v6 in families(service) {
            let Some(ip) = pod.ips.iter().find(|ip| ip.is_ipv6() == v6) else {
                continue;
            };
            let group = groups
                .entry((v6, ports.to_string()))
                .or_insert_with(|| (ports.clone(), Vec::new()));
            group.1.push(endpoint(pod, *ip, pod.ready || publish_all));
        }
    }
    groups
        .into_iter()
        .enumerate()
        .map(|(index, ((v6, _), (ports, endpoints)))| {
            let name = format!("{}-lab{index}", key.name);
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": name, "namespace": key.namespace,
                    "labels": {"kubernetes.io/service-name": key.name},
                },
                "addressType": if v6 { "IPv6" } else { "IPv4" },
                "ports": ports,
                "endpoints": endpoints,
            });
            (Key::new("EndpointSlice", &key.namespace, &name), slice)
        })
        .collect()
}

fn endpoint(pod: &Pod, ip: IpAddr, ready: bool) -> Value {
    json!({
        "addresses": [ip],
        "conditions": {
            "ready": ready && !pod.terminating,
            "serving": ready,
            "terminating": pod.terminating,
        },
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
    })
}

/// Which families a Service has: those of its addresses, else those it asks for, else IPv4.
fn families(service: &Value) -> Vec<bool> {
    let ips = super::services::own(service);
    let mut found: Vec<bool> = ips.iter().map(IpAddr::is_ipv6).collect();
    if found.is_empty() {
        let asked = list(service, "/spec/ipFamilies").iter();
        found = asked.map(|family| family == "IPv6").collect();
    }
    if found.is_empty() {
        found.push(false);
    }
    found
}

/// The Service's ports with the numbers they have in this pod; a named port that the pod lacks is left out.
fn resolved(service: &Value, pod: &Value) -> Value {
    let ports = list(service, "/spec/ports").iter().filter_map(|port| {
        let target = port.get("targetPort").unwrap_or(&port["port"]);
        let number = match target {
            Value::String(name) => match name.parse::<u16>() {
                Ok(number) => number,
                Err(_) => {
                    container_ports(pod)
                        .into_iter()
                        .find(|(n, ..)| n == name)?
                        .1
                }
            },
            number => number.as_u64()?.try_into().ok()?,
        };
        let mut slice = json!({
            "name": text(port, "/name").unwrap_or_default(),
            "port": number,
            "protocol": text(port, "/protocol").unwrap_or("TCP"),
        });
        if let Some(protocol) = text(port, "/appProtocol") {
            slice["appProtocol"] = json!(protocol);
        }
        Some(slice)
    });
    Value::Array(ports.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::parse;

    #[test]
    fn named_ports_and_families_are_resolved_and_readiness_is_shown() {
        let service = parse(
            "kind: Service\nmetadata: {name: a, namespace: s}\nspec: {selector: {app: a}, clusterIPs: [10.96.0.1, 'fd00:96::1'], ports: [{name: http, port: 80, targetPort: web}]}",
        )
        .unwrap()
        .remove(0);
        let object =
            json!({"spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        let mut pod = Pod {
            namespace: "s".into(),
            name: "a-1".into(),
            ips: vec![
                "10.244.1.2".parse().unwrap(),
                "fd00:244:1::2".parse().unwrap(),
            ],
            labels: [("app".to_owned(), "a".to_owned())].into(),
            ..Pod::default()
        };
        let slices = of_service(
            &service.0,
            &service.1,
            &[Member {
                pod: &pod,
                object: &object,
            }],
        );
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[0].1["ports"][0]["port"], 8080);
        assert_eq!(slices[1].1["addressType"], "IPv6");
        assert_eq!(slices[0].1["endpoints"][0]["conditions"]["ready"], false);
        pod.ready = true;
        let slices = of_service(
            &service.0,
            &service.1,
            &[Member {
                pod: &pod,
                object: &object,
            }],
        );
        assert_eq!(slices[0].1["endpoints"][0]["conditions"]["ready"], true);
        pod.labels.clear();
        assert!(
            of_service(
                &service.0,
                &service.1,
                &[Member {
                    pod: &pod,
                    object: &object
                }]
            )
            .is_empty()
        );
    }
}
