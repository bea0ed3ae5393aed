//! Services: names, virtual addresses, ports and what they speak.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_k8s::core as k8s;
use weft_model::protocol::{Protocol, SERVER_FIRST_PORTS};
use weft_model::service::{Service, ServicePort};
use weft_model::table::Tables;

use crate::cluster::{Cluster, LiveService};
use crate::code::Code;
use crate::diagnostic::Findings;
use crate::pass::marks::Marks;
use crate::pass::{capture, mode};
use crate::workloads::Workloads;

/// Words of `appProtocol` and of port names, and what they mean. `mysql` begins with the server; databases whose
/// protocol we do not read are bytes.
const WORDS: &[(&str, Protocol)] = &[
    ("http", Protocol::Http),
    ("http2", Protocol::Http2),
    ("h2c", Protocol::Http2),
    ("grpc", Protocol::Grpc),
    ("grpc-web", Protocol::Http),
    ("ws", Protocol::Http),
    ("tcp", Protocol::Tcp),
    ("tls", Protocol::Tcp),
    ("https", Protocol::Tcp),
    ("wss", Protocol::Tcp),
    ("mongo", Protocol::Tcp),
    ("redis", Protocol::Tcp),
    ("mysql", Protocol::ServerFirst),
];

/// Fills `services` and the index of their addresses.
pub(crate) fn run(
    cluster: &Cluster<'_>,
    workloads: &Workloads<'_>,
    tables: &mut Tables,
    findings: &mut Findings,
) {
    let mut owners = BTreeMap::new();
    for service in cluster.services.values() {
        let vips = addresses(service, findings);
        for vip in &vips {
            if let Some(first) = owners.get(vip).and_then(|id| tables.services.get(id)) {
                let message = format!(
                    "the address {vip} belongs to Service {} too, which gets its traffic",
                    first.name
                );
                findings.add(
                    Code::DuplicateAddress,
                    service.subject(),
                    "spec.clusterIP",
                    message,
                );
            } else {
                owners.insert(*vip, service.id);
            }
        }
        lint(workloads, service, findings);
        let value = Service {
            id: service.id,
            name: service.name.clone(),
            host: cluster.hosts.full_name(&service.name),
            vips,
            ports: ports(service, findings),
        };
        tables.services.insert(service.id, Arc::new(value));
    }
    tables.index.services = Arc::new(owners);
}

/// What a port speaks: by `appProtocol`, else by the name's prefix, else by its number, else to be detected.
pub(crate) fn protocol(port: &k8s::ServicePort) -> Protocol {
    declared(port).unwrap_or_else(|| {
        if SERVER_FIRST_PORTS.contains(&port.port) {
            Protocol::ServerFirst
        } else {
            Protocol::Detect
        }
    })
}

fn declared(port: &k8s::ServicePort) -> Option<Protocol> {
    let word = |text: &str| {
        WORDS
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, protocol)| *protocol)
    };
    let app = port.app_protocol.as_deref().map(str::to_ascii_lowercase);
    if let Some(found) = app
        .as_deref()
        .and_then(|app| word(app.strip_prefix("kubernetes.io/").unwrap_or(app)))
    {
        return Some(found);
    }
    let name = port.name.to_ascii_lowercase();
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return word("grpc-web");
    }
    word(name.split('-').next().unwrap_or_default())
}

fn addresses(service: &LiveService<'_>, findings: &mut Findings) -> Vec<IpAddr> {
    let spec = &service.service().spec;
    let all = spec
        .cluster_ips
        .iter()
        .map(|text| ("spec.clusterIPs", text));
    let mut vips: Vec<IpAddr> = Vec::new();
    for (field, text) in std::iter::once(("spec.clusterIP", &spec.cluster_ip)).chain(all) {
        match text.parse() {
            Ok(ip) if vips.contains(&ip) => {}
            Ok(ip) => vips.push(ip),
            Err(_) if text.is_empty() || text == "None" => {}
            Err(_) => {
                let message = format!(
                    "\"{text}\" is no IP address; write one, or None for a headless service"
                );
                findings.add(Code::InvalidAddress, service.subject(), field, message);
            }
        }
    }
    vips
}

fn ports(service: &LiveService<'_>, findings: &mut Findings) -> Vec<ServicePort> {
    let mut ports: BTreeMap<u16, ServicePort> = BTreeMap::new();
    for (index, port) in service
        .service()
        .spec
        .ports
        .iter()
        .enumerate()
        .filter(|(_, port)| port.is_tcp())
    {
        let field = format!("spec.ports[{index}]");
        if port.port == 0 || ports.contains_key(&port.port) {
            let message = match port.port {
                0 => "the port has no number; write port: 80 or another from 1 to 65535".to_owned(),
                number => format!("TCP port {number} is there twice; the first is used"),
            };
            findings.add(Code::InvalidPort, service.subject(), &field, message);
            continue;
        }
        if protocol(port) == Protocol::Detect {
            let message = format!(
                "port {} {} does not say what it speaks; set appProtocol: http, or name it http-…, grpc-…, tcp-…",
                port.port,
                if port.name.is_empty() {
                    "has no name and".to_owned()
                } else {
                    format!("named \"{}\"", port.name)
                },
            );
            findings.add(Code::PortName, service.subject(), &field, message);
        }
        let value = ServicePort {
            port: port.port,
            name: port.name.clone(),
            protocol: protocol(port),
        };
        ports.insert(port.port, value);
    }
    ports.into_values().collect()
}

fn lint(workloads: &Workloads<'_>, service: &LiveService<'_>, findings: &mut Findings) {
    let marks = Marks::own(service.subject(), &service.service().metadata);
    marks.none_of(&capture::KEYS, "the pods", findings);
    marks.none_of(
        &[mode::MODE, mode::ISTIO_MODE, mode::ACCESS_LOG],
        "the Namespace or the pods",
        findings,
    );
    let selector = &service.service().spec.selector;
    if !selector.is_empty()
        && workloads.has_workload(&service.name.namespace, &[selector]) == Some(false)
    {
        let message = format!(
            "no pod or workload in namespace {} carries {}; correct the selector or the labels",
            service.name.namespace,
            weft_model::policy::selector(selector)
        );
        findings.add(
            Code::ServiceWithoutWorkloads,
            service.subject(),
            "spec.selector",
            message,
        );
    }
}
