//! What is captured of a pod: its annotations, and what the kubelet must reach.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use weft_k8s::core::{Node, PodSpec};
use weft_k8s::{IntOrString, Name};
use weft_model::capture::{CaptureSpec, MAX_LIST, PortRange};

use crate::cluster::Cluster;
use crate::code::Code;
use crate::diagnostic::Findings;
use crate::pass::marks::Marks;
use crate::workloads::LivePod;

/// Annotations that are read: ours, then Istio's, which counts where ours is not set.
const EXCLUDE_INBOUND_PORTS: [&str; 2] = [
    "weft.mesh/exclude-inbound-ports",
    "traffic.sidecar.istio.io/excludeInboundPorts",
];
const EXCLUDE_OUTBOUND_PORTS: [&str; 2] = [
    "weft.mesh/exclude-outbound-ports",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
];
const EXCLUDE_OUTBOUND_CIDRS: [&str; 2] = [
    "weft.mesh/exclude-outbound-cidrs",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
];
const INCLUDE_OUTBOUND_CIDRS: [&str; 2] = [
    "weft.mesh/include-outbound-cidrs",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
];

/// Annotations of Istio about capturing that have no effect here yet.
const NOT_HONOURED: [&str; 6] = [
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
    "istio.io/reroute-virtual-interfaces",
    "ambient.istio.io/bypass-inbound-capture",
];

/// All keys that are read here.
pub(crate) const KEYS: [&str; 8] = [
    EXCLUDE_INBOUND_PORTS[0],
    EXCLUDE_INBOUND_PORTS[1],
    EXCLUDE_OUTBOUND_PORTS[0],
    EXCLUDE_OUTBOUND_PORTS[1],
    EXCLUDE_OUTBOUND_CIDRS[0],
    EXCLUDE_OUTBOUND_CIDRS[1],
    INCLUDE_OUTBOUND_CIDRS[0],
    INCLUDE_OUTBOUND_CIDRS[1],
];

/// The pod's capture: what can be read of its annotations holds, the rest is a finding.
pub(crate) fn of_pod(
    cluster: &Cluster<'_>,
    live: &LivePod<'_>,
    findings: &mut Findings,
) -> CaptureSpec {
    let pod = live.pod();
    let marks = Marks::own(live.subject(), &pod.metadata);
    let node = cluster
        .snapshot
        .nodes
        .get(&Name::new("", &pod.spec.node_name));
    CaptureSpec {
        node_ips: node.map(|node| node_ips(&node.value)).unwrap_or_default(),
        probe_ports: probe_ports(&pod.spec, marks, findings),
        ..read(marks, findings)
    }
}

/// What the annotations say.
pub(crate) fn read(marks: Marks<'_>, findings: &mut Findings) -> CaptureSpec {
    for key in NOT_HONOURED
        .into_iter()
        .filter(|key| marks.annotation(key).is_some())
    {
        let message = format!("{key} has no effect yet");
        marks.about_annotation(key, Code::AnnotationNotHonoured, message, findings);
    }
    let everything =
        value(marks, INCLUDE_OUTBOUND_CIDRS).is_some_and(|(_, text)| text.trim() == "*");
    let included = if everything {
        Vec::new()
    } else {
        list(marks, INCLUDE_OUTBOUND_CIDRS, network, findings)
    };
    CaptureSpec {
        exclude_outbound_ports: list(marks, EXCLUDE_OUTBOUND_PORTS, port_range, findings),
        exclude_outbound_cidrs: list(marks, EXCLUDE_OUTBOUND_CIDRS, network, findings),
        include_outbound_cidrs: included,
        exclude_inbound_ports: list(marks, EXCLUDE_INBOUND_PORTS, port_range, findings),
        ..CaptureSpec::default()
    }
}

/// The annotation of ours or Istio's that counts, with its key.
fn value<'a>(marks: Marks<'a>, keys: [&'static str; 2]) -> Option<(&'static str, &'a str)> {
    keys.into_iter()
        .find_map(|key| marks.annotation(key).map(|text| (key, text)))
}

/// Reads a list separated by commas; sorted, without repetitions.
fn list<T: Ord>(
    marks: Marks<'_>,
    keys: [&'static str; 2],
    read: fn(&str) -> Result<T, String>,
    findings: &mut Findings,
) -> Vec<T> {
    keys.iter().for_each(|key| marks.no_label(key, findings));
    let Some((key, text)) = value(marks, keys) else {
        return Vec::new();
    };
    let mut list = BTreeSet::new();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        match read(item) {
            Ok(_) if list.len() == MAX_LIST => {
                let message =
                    format!("more than {MAX_LIST} entries; those from \"{item}\" on are left out");
                marks.about_annotation(key, Code::InvalidAnnotation, message, findings);
                break;
            }
            Ok(value) => drop(list.insert(value)),
            Err(message) => marks.about_annotation(key, Code::InvalidAnnotation, message, findings),
        }
    }
    list.into_iter().collect()
}

fn port_range(text: &str) -> Result<PortRange, String> {
    let wrong = || {
        format!(
            "\"{text}\" is no port; write numbers from 1 to 65535 like 8080 or ranges like 9000-9010"
        )
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)
    };
    let range = PortRange {
        first: number(first)?,
        last: number(last)?,
    };
    if range.first > range.last {
        Err(wrong())
    } else {
        Ok(range)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let net = text.parse::<IpNet>().or_else(|_| single());
    net.map(|net| net.trunc())
        .map_err(|_| format!("\"{text}\" is no network; write it like 10.0.0.0/8 or fd00::/8"))
}

/// Addresses from which the kubelet reaches pods: the node's own, and the bridge, which by custom has the first
/// address of each pod network.
fn node_ips(node: &Node) -> Vec<IpAddr> {
    let own = node
        .status
        .addresses
        .iter()
        .filter_map(|address| address.address.parse().ok());
    let networks = std::iter::once(&node.spec.pod_cidr).chain(&node.spec.pod_cidrs);
    let bridges = networks
        .filter_map(|text| text.parse().ok())
        .filter_map(first_address);
    own.chain(bridges)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The address after the network's own, which `host-local` and `bridge` give the gateway in both families.
fn first_address(net: IpNet) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V4(network) => Some(Ipv4Addr::from_bits(network.to_bits().checked_add(1)?).into()),
        IpAddr::V6(network) => Some(Ipv6Addr::from_bits(network.to_bits().checked_add(1)?).into()),
    }
}

/// Ports that the kubelet calls on the pod: probes and hooks, named ports by number.
pub(crate) fn probe_ports(spec: &PodSpec, marks: Marks<'_>, findings: &mut Findings) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for container in spec.running_containers() {
        for port in container.kubelet_ports() {
            let number = match &port {
                IntOrString::Int(number) => Some(*number).filter(|number| *number > 0),
                IntOrString::Name(name) => {
                    let mut declared = container.ports.iter();
                    declared
                        .find(|port| port.name == *name)
                        .map(|port| port.container_port)
                }
            };
            if number.is_none() {
                let message = format!(
                    "container {} probes port \"{port}\", which it does not declare",
                    container.name
                );
                findings.add(
                    Code::ProbePort,
                    marks.subject,
                    &format!("{}spec.containers", marks.prefix),
                    message,
                );
            }
            ports.extend(number);
        }
    }
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_networks_are_read_or_explained() {
        assert_eq!(port_range("80").unwrap(), PortRange::one(80));
        assert_eq!(
            port_range("80 - 90").unwrap(),
            PortRange {
                first: 80,
                last: 90
            }
        );
        for wrong in ["", "0", "65536", "90-80", "a", "1-2-3", "-1"] {
            assert!(port_range(wrong).unwrap_err().contains(wrong));
        }
        assert_eq!(network("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(network("10.0.0.0/33").is_err());
    }
}
