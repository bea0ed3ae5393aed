//! Endpoints: where a service's requests can go now, and which subsets each place belongs to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use weft_k8s::core as k8s;
use weft_k8s::meta::contains;
use weft_model::endpoint::{Endpoint, Endpoints};
use weft_model::policy::selector;
use weft_model::table::Tables;

use crate::cluster::{Cluster, LiveService};
use crate::pass::destination_rules::Rules;
use crate::pass::pods::ports_of;
use crate::workloads::Workloads;

/// Fills `endpoints`: only what is ready and not going away, sorted by address.
pub(crate) fn run(
    cluster: &Cluster<'_>,
    workloads: &Workloads<'_>,
    rules: &Rules<'_>,
    tables: &mut Tables,
) {
    for service in cluster.services.values() {
        let selectors = rules.selectors(&service.name);
        let mut ports: BTreeMap<u16, BTreeMap<SocketAddr, Endpoint>> = BTreeMap::new();
        for port in service
            .service()
            .spec
            .ports
            .iter()
            .filter(|port| port.is_tcp() && port.port > 0)
        {
            ports.entry(port.port).or_default();
        }
        for slice in workloads.slices(&service.name) {
            add_slice(workloads, service, slice, &selectors, &mut ports);
        }
        let value = Endpoints {
            service: service.id,
            name: service.name.clone(),
            ports: ports
                .into_iter()
                .map(|(port, places)| (port, places.into_values().collect()))
                .collect(),
        };
        tables.endpoints.insert(service.id, Arc::new(value));
    }
}

fn add_slice(
    workloads: &Workloads<'_>,
    service: &LiveService<'_>,
    slice: &k8s::EndpointSlice,
    selectors: &BTreeSet<&BTreeMap<String, String>>,
    ports: &mut BTreeMap<u16, BTreeMap<SocketAddr, Endpoint>>,
) {
    let targets: Vec<_> = ports_of(service.service(), slice).collect();
    for endpoint in slice
        .endpoints
        .iter()
        .filter(|endpoint| takes_traffic(endpoint))
    {
        let address = endpoint
            .addresses
            .first()
            .and_then(|text| text.parse::<IpAddr>().ok());
        let Some(ip) = address.filter(|_| !workloads.is_ended(slice, endpoint)) else {
            continue;
        };
        let pod = workloads.pod_of(slice, endpoint);
        let labels = pod.map(|pod| &pod.pod().metadata.labels);
        let subsets = selectors
            .iter()
            .filter(|wanted| labels.is_some_and(|labels| contains(labels, wanted)));
        let subsets: Vec<String> = subsets.map(|wanted| selector(wanted)).collect();
        let of_pod = pod.map(|pod| pod.pod().spec.node_name.clone());
        let node = of_pod
            .or_else(|| endpoint.node_name.clone())
            .unwrap_or_default();
        for (port, target) in &targets {
            let address = SocketAddr::new(ip, *target);
            let workload = pod.map(|pod| pod.id);
            let value = Endpoint {
                address,
                workload,
                node: node.clone(),
                subsets: subsets.clone(),
            };
            ports.entry(*port).or_default().insert(address, value);
        }
    }
}

/// `serving` is for draining only, and `publishNotReadyAddresses` makes its endpoints ready in the slice already.
fn takes_traffic(endpoint: &k8s::Endpoint) -> bool {
    endpoint.conditions.ready != Some(false) && endpoint.conditions.terminating != Some(true)
}
