//! The pods bound to this node, as the operator's tables name them: all that the agent reads of the tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use weft_model::pod::{LocalPod, Mode};

/// The pods of one generation. Generation 0: nothing has ever been received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound {
    /// Generation of the tables.
    pub(crate) generation: u64,
    /// By the container runtime's uid.
    pub(crate) pods: BTreeMap<String, Arc<LocalPod>>,
    /// Every namespace of the cluster, and whether its pods are in the mesh unless they opt out.
    pub(crate) namespaces: Arc<BTreeMap<String, bool>>,
}

/// Follows the tables.
pub(crate) type Tables = watch::Receiver<Arc<Bound>>;

impl Bound {
    /// A pod by its uid, or by namespace and name where the runtime gave no uid.
    pub(crate) fn find(
        &self,
        uid: Option<&str>,
        namespace: &str,
        name: &str,
    ) -> Option<&Arc<LocalPod>> {
        match uid {
            Some(uid) => self.pods.get(uid).or_else(|| {
                let mut pods = self.pods.values();
                pods.find(|pod| pod.api_uid.as_deref() == Some(uid))
            }),
            None => self.pods.values().find(|pod| {
                let id = &pod.workload.pod;
                id.namespace == namespace && id.name == name
            }),
        }
    }

    /// The same pods, none of them in the mesh.
    pub(crate) fn left(mut self) -> Self {
        for pod in self.pods.values_mut().filter(|p| p.mode == Mode::Enabled) {
            Arc::make_mut(pod).mode = Mode::Disabled("Weft is being removed".to_owned());
        }
        for inside in Arc::make_mut(&mut self.namespaces).values_mut() {
            *inside = false;
        }
        self
    }

    /// Whether the namespace is known and neither it nor any pod of it on this node is in the mesh.
    pub(crate) fn is_outside(&self, namespace: &str) -> bool {
        let mut pods = self
            .pods
            .values()
            .filter(|pod| pod.workload.pod.namespace == namespace)
            .peekable();
        let known = match self.namespaces.get(namespace) {
            Some(true) => false,
            Some(false) => true,
            None => pods.peek().is_some(),
        };
        known && pods.all(|pod| pod.mode != Mode::Enabled)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Pods for tests.

    use std::sync::Arc;

    use weft_model::id::{ObjectName, WorkloadId};
    use weft_model::pod::{AccessLog, LocalPod, Mode};
    use weft_model::workload::Workload;

    /// A pod with the uid `uid-NAME`.
    pub(crate) fn pod(namespace: &str, name: &str, mode: Mode) -> (String, Arc<LocalPod>) {
        let uid = format!("uid-{name}");
        let workload = Workload {
            id: WorkloadId(1),
            uid: uid.clone(),
            pod: ObjectName::new(namespace, name),
            node: "n".into(),
            ips: vec![],
            service_account: "default".into(),
            workload: name.into(),
            app: name.into(),
            version: "latest".into(),
            canonical_service: name.into(),
            canonical_revision: "latest".into(),
            cluster: "Kubernetes".into(),
            labels: [].into(),
            captured: mode == Mode::Enabled,
            ingress_policy: false,
            egress_policy: false,
            services: vec![],
        };
        let pod = LocalPod {
            api_uid: None,
            workload,
            mode,
            capture: Default::default(),
            access_log: AccessLog::Off,
        };
        (uid, Arc::new(pod))
    }
}
