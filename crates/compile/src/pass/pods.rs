//! Pods: workloads for everybody, and for the pod's node whether and how it is captured.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_k8s::core as k8s;
use weft_k8s::{IntOrString, Kind};
use weft_model::id::WorkloadId;
use weft_model::pod::{LocalPod, Mode};
use weft_model::table::Tables;
use weft_model::workload::Membership;

use crate::cluster::{Cluster, LiveService};
use crate::diagnostic::{Findings, Subject};
use crate::pass::marks::Marks;
use crate::pass::{capture, mode, services, workload};
use crate::workloads::{LivePod, Workloads};

/// Fills `workloads`, `pods` and the index of pod addresses.
pub(crate) fn run(
    cluster: &Cluster<'_>,
    workloads: &Workloads<'_>,
    tables: &mut Tables,
    findings: &mut Findings,
) {
    for (name, namespace) in &cluster.snapshot.namespaces {
        let subject = Subject {
            kind: Kind::Namespace.name(),
            name,
            origin: namespace,
        };
        let marks = Marks::own(subject, &namespace.value.metadata);
        mode::lint(marks, true, findings);
        marks.none_of(&capture::KEYS, "the pods", findings);
    }
    tables.namespaces = Arc::new(mode::of_namespaces(cluster));
    let mut memberships = memberships(cluster, workloads);
    for live in workloads.pods.values() {
        mode::lint(
            Marks::own(live.subject(), &live.pod().metadata),
            false,
            findings,
        );
        let services = memberships.remove(&live.id).unwrap_or_default();
        let mut workload = workload::describe(cluster, live, services);
        let mode = mode::of_pod(cluster, live, findings);
        workload.captured = mode == Mode::Enabled;
        (workload.ingress_policy, workload.egress_policy) = policies(workloads, live);
        let local = LocalPod {
            api_uid: workload::other_uid(live),
            capture: capture::of_pod(cluster, live, findings),
            access_log: mode::access_log(cluster, &live.name.namespace),
            workload: workload.clone(),
            mode,
        };
        // Two hand-written pods with one uid: the second is known by its name, so that neither is lost.
        let uid = if tables.pods.contains_key(&workload.uid) {
            live.name.to_string()
        } else {
            workload.uid.clone()
        };
        tables.pods.insert(uid, Arc::new(local));
        tables.workloads.insert(live.id, Arc::new(workload));
    }
    let owned = workloads
        .by_ip
        .iter()
        .filter_map(|(ip, name)| Some((*ip, workloads.pods.get(name)?.id)));
    tables.index.workloads = Arc::new(owned.collect());
}

/// Whether a NetworkPolicy selects the pod for ingress and for egress.
fn policies(workloads: &Workloads<'_>, live: &LivePod<'_>) -> (bool, bool) {
    let own = workloads.network_policies(&live.name.namespace).iter();
    let labels = &live.pod().metadata.labels;
    let selecting = own.filter(|policy| policy.spec.pod_selector.selects(labels));
    selecting.fold((false, false), |(ingress, egress), policy| {
        (
            ingress || policy.spec.ingress(),
            egress || policy.spec.egress(),
        )
    })
}

/// The ways by which services reach each pod: from slices, and from selectors for services without any slice.
fn memberships(
    cluster: &Cluster<'_>,
    workloads: &Workloads<'_>,
) -> BTreeMap<WorkloadId, Vec<Membership>> {
    let mut found: BTreeMap<WorkloadId, BTreeSet<(usize, u16, u16)>> = BTreeMap::new();
    let services: Vec<&LiveService<'_>> = cluster.services.values().collect();
    for (index, service) in services.iter().enumerate() {
        let ways = match workloads.slices(&service.name) {
            [] => selected(workloads, service),
            _ => sliced(workloads, service),
        };
        for (pod, port, target) in ways {
            found.entry(pod).or_default().insert((index, port, target));
        }
    }
    let name = |(index, port, target): (usize, u16, u16)| {
        let service = services.get(index)?;
        let declared = service
            .service()
            .spec
            .ports
            .iter()
            .find(|declared| declared.is_tcp() && declared.port == port)?;
        let protocol = services::protocol(declared);
        Some(Membership {
            service: service.name.clone(),
            port,
            target_port: target,
            protocol,
        })
    };
    found
        .into_iter()
        .map(|(pod, ways)| (pod, ways.into_iter().filter_map(name).collect()))
        .collect()
}

/// (pod, service port, pod port) of all slices.
fn sliced(workloads: &Workloads<'_>, service: &LiveService<'_>) -> Vec<(WorkloadId, u16, u16)> {
    let mut ways = Vec::new();
    for slice in workloads.slices(&service.name) {
        let ports: Vec<_> = ports_of(service.service(), slice).collect();
        for pod in slice
            .endpoints
            .iter()
            .filter_map(|endpoint| workloads.pod_of(slice, endpoint))
        {
            ways.extend(ports.iter().map(|(port, target)| (pod.id, *port, *target)));
        }
    }
    ways
}

/// (service port, pod port) of a slice: slices name the service's ports.
pub(crate) fn ports_of<'a>(
    service: &'a k8s::Service,
    slice: &'a k8s::EndpointSlice,
) -> impl Iterator<Item = (u16, u16)> + 'a {
    let declared = service
        .spec
        .ports
        .iter()
        .filter(|port| port.is_tcp() && port.port > 0);
    declared.filter_map(|port| {
        let named = slice
            .ports
            .iter()
            .filter(|found| matches!(found.protocol.as_str(), "" | "TCP"));
        let mut named = named.filter(|found| found.name == port.name);
        let target = named.next()?.port.filter(|target| *target > 0)?;
        Some((port.port, target))
    })
}

fn selected(workloads: &Workloads<'_>, service: &LiveService<'_>) -> Vec<(WorkloadId, u16, u16)> {
    let spec = &service.service().spec;
    if spec.selector.is_empty() {
        return Vec::new();
    }
    let labels = [&spec.selector];
    let pods = workloads.selected(&service.name.namespace, &labels);
    pods.flat_map(|live| {
        let declared = spec
            .ports
            .iter()
            .filter(|port| port.is_tcp() && port.port > 0);
        declared.filter_map(move |port| Some((live.id, port.port, target(live.pod(), port)?)))
    })
    .collect()
}

fn target(pod: &k8s::Pod, port: &k8s::ServicePort) -> Option<u16> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::Name(name)) => pod.named_port(name, "TCP"),
    }
}
