//! Pods, their addresses and labels, and the slices of services: lookups built once for the passes that need them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use weft_k8s::core::{EndpointSlice, NetworkPolicy, Pod};
use weft_k8s::{Kind, Located, Name, Snapshot};
use weft_model::id::{ObjectName, WorkloadId, assign};

use crate::cluster::object;
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::selection::{LabelIndex, Labels};

/// A pod that is bound to a node and has not ended.
pub(crate) struct LivePod<'a> {
    pub(crate) id: WorkloadId,
    pub(crate) name: &'a Name,
    pub(crate) located: &'a Located<Arc<Pod>>,
    pub(crate) ips: Vec<IpAddr>,
}

impl<'a> LivePod<'a> {
    pub(crate) fn pod(&self) -> &'a Pod {
        &self.located.value
    }

    pub(crate) fn subject(&self) -> Subject<'a> {
        Subject {
            kind: Kind::Pod.name(),
            name: self.name,
            origin: self.located,
        }
    }
}

/// The snapshot's workloads with their lookups.
pub(crate) struct Workloads<'a> {
    all: &'a Snapshot,
    pub(crate) pods: BTreeMap<&'a Name, LivePod<'a>>,
    /// Owner of each pod address; pods on the host's network own none.
    pub(crate) by_ip: BTreeMap<IpAddr, &'a Name>,
    slices: BTreeMap<ObjectName, Vec<&'a EndpointSlice>>,
    by_label: LabelIndex<'a, &'a Name>,
    described: LabelIndex<'a, ()>,
    network_policies: BTreeMap<&'a str, Vec<&'a NetworkPolicy>>,
}

impl<'a> Workloads<'a> {
    pub(crate) fn build(snapshot: &'a Snapshot, findings: &mut Findings) -> Self {
        let pods = live_pods(snapshot, findings);
        let by_ip = owners(&pods, findings);
        let mut slices: BTreeMap<ObjectName, Vec<&EndpointSlice>> = BTreeMap::new();
        for (name, slice) in &snapshot.endpoint_slices {
            if let Some(service) = slice.value.service() {
                let name = ObjectName::new(&name.namespace, service);
                slices.entry(name).or_default().push(&slice.value);
            }
        }
        let live = pods.values().map(|live| {
            (
                live.name.namespace.as_str(),
                &live.pod().metadata.labels,
                live.name,
            )
        });
        let by_label = LabelIndex::new(live);
        let mut network_policies: BTreeMap<&str, Vec<&NetworkPolicy>> = BTreeMap::new();
        for (name, policy) in &snapshot.network_policies {
            network_policies
                .entry(&name.namespace)
                .or_default()
                .push(&policy.value);
        }
        let described = described(snapshot);
        Self {
            all: snapshot,
            pods,
            by_ip,
            slices,
            by_label,
            described,
            network_policies,
        }
    }

    /// NetworkPolicies of a namespace.
    pub(crate) fn network_policies(&self, namespace: &str) -> &[&'a NetworkPolicy] {
        self.network_policies
            .get(namespace)
            .map_or(&[], Vec::as_slice)
    }

    /// Slices of a service, by name of the slice.
    pub(crate) fn slices(&self, service: &ObjectName) -> &[&'a EndpointSlice] {
        self.slices.get(service).map_or(&[], Vec::as_slice)
    }

    /// The pod behind an endpoint: by reference, else by address.
    pub(crate) fn pod_of(
        &self,
        slice: &EndpointSlice,
        endpoint: &weft_k8s::core::Endpoint,
    ) -> Option<&LivePod<'a>> {
        match endpoint
            .target_ref
            .as_ref()
            .filter(|target| target.kind == "Pod")
        {
            Some(target) => self
                .pods
                .get(&Name::new(&slice.metadata.namespace, &target.name)),
            None => {
                let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
                self.pods.get(self.by_ip.get(&ip)?)
            }
        }
    }

    /// Whether a pod of a reference has ended, so that its address must not be used.
    pub(crate) fn is_ended(
        &self,
        slice: &EndpointSlice,
        endpoint: &weft_k8s::core::Endpoint,
    ) -> bool {
        let target = endpoint
            .target_ref
            .as_ref()
            .filter(|target| target.kind == "Pod");
        target.is_some_and(|target| {
            let name = Name::new(&slice.metadata.namespace, &target.name);
            self.all
                .pods
                .get(&name)
                .is_some_and(|pod| pod.value.is_terminated())
        })
    }

    /// Whether any workload that the manifests describe in this namespace carries these labels;
    /// `None` when they describe none, as in a directory of policy alone.
    pub(crate) fn has_workload(&self, namespace: &str, labels: &[&Labels]) -> Option<bool> {
        let known = self.described.has_namespace(namespace);
        known.then(|| self.described.find(namespace, labels).next().is_some())
    }

    /// Live pods of a namespace that carry the labels, by name.
    pub(crate) fn selected<'b>(
        &'b self,
        namespace: &'b str,
        labels: &'b [&'b Labels],
    ) -> impl Iterator<Item = &'b LivePod<'a>> {
        self.by_label
            .find(namespace, labels)
            .filter_map(|name| self.pods.get(name))
    }
}

/// All sets of labels that pods have or controllers will give them, each once.
fn described(snapshot: &Snapshot) -> LabelIndex<'_, ()> {
    let controllers = [
        &snapshot.deployments,
        &snapshot.stateful_sets,
        &snapshot.daemon_sets,
    ];
    let templates = controllers.into_iter().flatten().map(|(name, controller)| {
        (
            name.namespace.as_str(),
            &controller.value.spec.template.metadata.labels,
        )
    });
    let pods = snapshot
        .pods
        .iter()
        .map(|(name, pod)| (name.namespace.as_str(), &pod.value.metadata.labels));
    let distinct: BTreeSet<(&str, &Labels)> = templates.chain(pods).collect();
    LabelIndex::new(
        distinct
            .into_iter()
            .map(|(namespace, labels)| (namespace, labels, ())),
    )
}

fn live_pods<'a>(
    snapshot: &'a Snapshot,
    findings: &mut Findings,
) -> BTreeMap<&'a Name, LivePod<'a>> {
    let live: Vec<_> = snapshot
        .pods
        .iter()
        .filter(|(_, pod)| !pod.value.spec.node_name.is_empty() && !pod.value.is_terminated())
        .collect();
    let ids = assign(live.iter().map(|(name, _)| object(name)));
    let mut pods = BTreeMap::new();
    for (name, located) in live {
        let subject = Subject {
            kind: Kind::Pod.name(),
            name,
            origin: located,
        };
        let Some(id) = ids.get(&object(name)) else {
            continue;
        };
        let ips = addresses(&located.value, subject, findings);
        pods.insert(
            name,
            LivePod {
                id: WorkloadId(*id),
                name,
                located,
                ips,
            },
        );
    }
    pods
}

fn addresses(pod: &Pod, subject: Subject<'_>, findings: &mut Findings) -> Vec<IpAddr> {
    let all = pod
        .status
        .pod_ips
        .iter()
        .map(|entry| ("status.podIPs", &entry.ip));
    let mut ips: Vec<IpAddr> = Vec::new();
    for (field, text) in std::iter::once(("status.podIP", &pod.status.pod_ip)).chain(all) {
        match text.parse() {
            Ok(ip) if ips.contains(&ip) => {}
            Ok(ip) => ips.push(ip),
            Err(_) if text.is_empty() => {}
            Err(_) => findings.add(
                Code::InvalidAddress,
                subject,
                field,
                format!("\"{text}\" is no IP address"),
            ),
        }
    }
    ips
}

/// Who owns each address. Of two pods with one address the one that is not being deleted wins, then the newer.
fn owners<'a>(
    pods: &BTreeMap<&'a Name, LivePod<'a>>,
    findings: &mut Findings,
) -> BTreeMap<IpAddr, &'a Name> {
    let mut owners: BTreeMap<IpAddr, &LivePod<'a>> = BTreeMap::new();
    let rank = |pod: &LivePod<'a>| {
        let metadata = &pod.pod().metadata;
        (
            metadata.deletion_timestamp.is_none(),
            metadata.creation_timestamp.as_deref(),
            pod.name,
        )
    };
    for pod in pods.values().filter(|pod| !pod.pod().spec.host_network) {
        for ip in &pod.ips {
            let Some(other) = owners.insert(*ip, pod) else {
                continue;
            };
            let (winner, loser) = if rank(other) > rank(pod) {
                (other, pod)
            } else {
                (pod, other)
            };
            owners.insert(*ip, winner);
            if loser.pod().metadata.deletion_timestamp.is_none() {
                let message = format!(
                    "the address {ip} belongs to Pod {} too, which gets its traffic",
                    winner.name
                );
                findings.add(
                    Code::DuplicateAddress,
                    loser.subject(),
                    "status.podIP",
                    message,
                );
            }
        }
    }
    owners.into_iter().map(|(ip, pod)| (ip, pod.name)).collect()
}
