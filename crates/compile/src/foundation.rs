//! The tables without policy: services, workloads, pods and endpoints. They cost most of a compile and do not depend
//! on VirtualServices, so they are kept while the objects that they are made of are the same.

use std::{collections::BTreeMap, sync::Arc};

use weft_k8s::core::{
    DaemonSet, Deployment, EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service, StatefulSet,
};
use weft_k8s::istio::DestinationRule;
use weft_k8s::{Located, Name, Snapshot};
use weft_model::table::Tables;

use crate::Settings;
use crate::cluster::Cluster;
use crate::diagnostic::{Diagnostic, Findings};
use crate::pass;
use crate::pass::destination_rules::Rules;
use crate::reuse;
use crate::workloads::Workloads;

/// Tables without policy, with the findings of their passes and what they were made of.
#[derive(Debug)]
pub(crate) struct Foundation {
    settings: Settings,
    sources: Sources,
    pub(crate) tables: Tables,
    pub(crate) findings: Vec<Diagnostic>,
}

impl Foundation {
    pub(crate) fn build(cluster: &Cluster<'_>, rules: &Rules<'_>, previous: &Tables) -> Self {
        let (mut tables, mut findings) = (Tables::default(), Findings::default());
        let workloads = Workloads::build(cluster.snapshot, &mut findings);
        pass::services::run(cluster, &workloads, &mut tables, &mut findings);
        pass::pods::run(cluster, &workloads, &mut tables, &mut findings);
        pass::endpoints::run(cluster, &workloads, rules, &mut tables);
        pass::destination_rules::lint_workloads(cluster, &workloads, rules, &mut findings);
        pass::controllers::run(cluster.snapshot, &mut findings);
        reuse::foundation(previous, &mut tables);
        Self {
            settings: cluster.settings.clone(),
            sources: Sources::of(cluster.snapshot),
            tables,
            findings: findings.into_sorted(),
        }
    }

    /// Whether the same would come out of this snapshot.
    pub(crate) fn holds_for(&self, snapshot: &Snapshot, settings: &Settings) -> bool {
        self.settings == *settings && self.sources.are_those_of(snapshot)
    }
}

macro_rules! sources {
    ($($field:ident: $type:ty,)+) => {
        /// The objects themselves: holding them makes sure that an equal pointer means an equal object.
        #[derive(Debug)]
        struct Sources { $($field: Vec<Arc<$type>>,)+ }

        impl Sources {
            fn of(snapshot: &Snapshot) -> Self {
                Self { $($field: snapshot.$field.values().map(|located| Arc::clone(&located.value)).collect(),)+ }
            }

            fn are_those_of(&self, snapshot: &Snapshot) -> bool {
                $(same(&self.$field, &snapshot.$field))&&+
            }
        }
    };
}

sources! {
    namespaces: Namespace,
    nodes: Node,
    pods: Pod,
    services: Service,
    endpoint_slices: EndpointSlice,
    network_policies: NetworkPolicy,
    deployments: Deployment,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    destination_rules: DestinationRule,
}

fn same<T>(kept: &[Arc<T>], now: &BTreeMap<Name, Located<Arc<T>>>) -> bool {
    kept.len() == now.len()
        && kept
            .iter()
            .zip(now.values())
            .all(|(one, two)| Arc::ptr_eq(one, &two.value))
}
