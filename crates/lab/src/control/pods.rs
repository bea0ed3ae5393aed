//! Deployment → pods, as deployment and replica set controllers do it in one step. Names are a function of template
//! and index, so that an unchanged Deployment wants the same pods after every reading.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use crate::object::{Key, Objects, list, map, of_kind, text};

/// Letters of generated names: no vowels and no look-alikes, so that no words arise.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Most pods of one Deployment.
const MAX_REPLICAS: u64 = 500;
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// A pod that should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantedPod {
    /// (namespace, name)
    pub(crate) key: (String, String),
    /// The Pod object without node and status.
    pub(crate) object: Value,
    /// Key of the Deployment, or of the pod itself.
    pub(crate) owner: Key,
    /// Pods of one owner with different revisions replace each other.
    pub(crate) revision: String,
    /// The only node it may run on.
    pub(crate) node: Option<String>,
}

impl WantedPod {
    /// Changes of anything else need a new pod.
    pub(crate) fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        map(&self.object, "/metadata/labels")
    }
}

/// All pods that the user's objects ask for, sorted by key.
pub(crate) fn wanted(objects: &Objects) -> BTreeMap<(String, String), WantedPod> {
    let deployed = of_kind(objects, "Deployment").flat_map(|(key, object)| replicas(key, object));
    let bare = of_kind(objects, "Pod").map(|(key, object)| bare(key, object));
    deployed
        .chain(bare)
        .map(|pod| (pod.key.clone(), pod))
        .collect()
}

fn bare(key: &Key, object: &Value) -> WantedPod {
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!(key.namespace);
    let revision = digest(&(key, object["spec"].to_string()), 10);
    WantedPod {
        key: (key.namespace.clone(), key.name.clone()),
        node: wish(&object),
        owner: key.clone(),
        revision,
        object,
    }
}

fn replicas(key: &Key, deployment: &Value) -> Vec<WantedPod> {
    let count = deployment
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let template = &deployment["spec"]["template"];
    let revision = digest(&template.to_string(), 10);
    let set = format!("{}-{revision}", key.name);
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": template.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    });
    let metadata = &mut object["metadata"];
    metadata["namespace"] = json!(key.namespace);
    metadata["labels"]["pod-template-hash"] = json!(revision);
    metadata["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set,
        "uid": format!("replicaset-{}-{set}", key.namespace), "controller": true,
    }]);
    let node = wish(&object);
    (0..count.min(MAX_REPLICAS))
        .map(|index| {
            let name = format!("{set}-{}", digest(&(&set, index), 5));
            let mut object = object.clone();
            object["metadata"]["name"] = json!(name);
            WantedPod {
                key: (key.namespace.clone(), name),
                object,
                owner: key.clone(),
                revision: revision.clone(),
                node: node.clone(),
            }
        })
        .collect()
}

fn wish(pod: &Value) -> Option<String> {
    let by_name = text(pod, "/spec/nodeName").map(str::to_owned);
    by_name.or_else(|| map(pod, "/spec/nodeSelector").remove(HOSTNAME_LABEL))
}

fn digest(value: &impl Hash, length: usize) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    let mut rest = hasher.finish();
    let letters = LETTERS.len() as u64;
    (0..length)
        .map(|_| {
            let letter = usize::try_from(rest % letters).unwrap_or(0);
            rest /= letters;
            char::from(LETTERS.get(letter).copied().unwrap_or(b'x'))
        })
        .collect()
}

/// Chooses a node: the wished one, else the one with the fewest pods of this owner, then the fewest pods, then the first.
///
/// # Errors
/// The wished node does not exist.
pub(crate) fn place(
    pod: &WantedPod,
    nodes: &[String],
    running: &[(Key, String)],
) -> Result<String, String> {
    if let Some(wish) = &pod.node {
        return match nodes.contains(wish) {
            true => Ok(wish.clone()),
            false => Err(format!(
                "Pod {}/{} wants node {wish}, but the nodes are {}",
                pod.key.0,
                pod.key.1,
                nodes.join(", ")
            )),
        };
    }
    let load = |node: &String| {
        let on = running.iter().filter(|(_, n)| n == node);
        let (own, all) = on.fold((0, 0), |(own, all), (owner, _)| {
            (own + u32::from(*owner == pod.owner), all + 1)
        });
        (own, all, node.clone())
    };
    nodes
        .iter()
        .min_by_key(|n| load(n))
        .cloned()
        .ok_or_else(|| "there is no node".to_owned())
}

/// Kinds that make pods in Kubernetes and that the lab does not play.
pub(crate) fn unplayed(objects: &Objects) -> Vec<String> {
    const KINDS: [&str; 5] = ["StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
    let found = objects
        .keys()
        .filter(|key| KINDS.contains(&key.kind.as_str()));
    found
        .map(|key| format!("{key}: the lab plays Deployments and Pods only; nothing runs"))
        .collect()
}

/// Declared TCP and UDP ports of all containers: (name, number, is UDP).
pub(crate) fn ports(pod: &Value) -> Vec<(String, u16, bool)> {
    let containers = list(pod, "/spec/containers").iter();
    containers
        .flat_map(|container| list(container, "/ports"))
        .filter_map(|port| {
            let number = port.get("containerPort")?.as_u64()?.try_into().ok()?;
            let name = text(port, "/name").unwrap_or_default().to_owned();
            Some((name, number, text(port, "/protocol") == Some("UDP")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::parse;

    const DEPLOYMENT: &str = "
kind: Deployment
metadata: {name: reviews-v1, namespace: shop}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec: {nodeSelector: {kubernetes.io/hostname: node-2}, containers: [{ports: [{containerPort: 9080, name: http}]}]}
";

    fn objects(text: &str) -> Objects {
        parse(text).unwrap().into_iter().collect()
    }

    #[test]
    fn a_deployment_becomes_pods_as_a_replica_set_names_them() {
        let pods = wanted(&objects(DEPLOYMENT));
        assert_eq!(pods.len(), 3);
        for ((namespace, name), pod) in &pods {
            assert_eq!(
                (namespace.as_str(), pod.node.as_deref()),
                ("shop", Some("node-2"))
            );
            let hash = &pod.labels()["pod-template-hash"];
            assert!(name.starts_with(&format!("reviews-v1-{hash}-")), "{name}");
            let owner = text(&pod.object, "/metadata/ownerReferences/0/name");
            assert_eq!(owner, Some(format!("reviews-v1-{hash}").as_str()));
        }
        assert_eq!(pods, wanted(&objects(DEPLOYMENT)));
    }

    #[test]
    fn scaling_keeps_names_and_a_new_template_changes_all() {
        let names = |t: &str| wanted(&objects(t)).into_keys().collect::<Vec<_>>();
        let (three, two) = (
            names(DEPLOYMENT),
            names(&DEPLOYMENT.replace("replicas: 3", "replicas: 2")),
        );
        assert!(two.len() == 2 && two.iter().all(|n| three.contains(n)));
        let v2 = names(&DEPLOYMENT.replace("version: v1", "version: v2"));
        assert!(v2.iter().all(|n| !three.contains(n)));
    }

    #[test]
    fn pods_of_one_owner_are_spread() {
        let text = DEPLOYMENT.replace("nodeSelector: {kubernetes.io/hostname: node-2}, ", "");
        let pods = wanted(&objects(&text));
        let nodes = ["node-1".to_owned(), "node-2".to_owned()];
        let mut running = Vec::new();
        for pod in pods.values() {
            running.push((pod.owner.clone(), place(pod, &nodes, &running).unwrap()));
        }
        let first = running.iter().filter(|(_, n)| *n == nodes[0]).count();
        assert_eq!((first, running.len()), (2, 3));
        let gone = WantedPod {
            node: Some("node-9".into()),
            ..pods.into_values().next().unwrap()
        };
        assert!(
            place(&gone, &nodes, &running)
                .unwrap_err()
                .contains("node-9")
        );
    }
}
