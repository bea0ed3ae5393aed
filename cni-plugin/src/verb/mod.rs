//! The verbs: each reads its own environment and configuration, decides, and answers.

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod del;
pub(crate) mod gc;
pub(crate) mod status;

use std::net::IpAddr;
use std::path::Path;

use weft_wire::cni;
use weft_wire::membership::FILE;

use crate::dispatch::World;
use crate::membership::{self, Standing};
use crate::spec::args::{Attachment, PodArgs};
use crate::spec::config::Config;
use crate::spec::error::{CniError, INCOMPATIBLE_VERSION};

/// Namespaces that are never in the mesh, by name: the cluster's own and ours must start while everything else waits.
pub(crate) const NEVER: [&str; 2] = ["kube-system", "weft-system"];

/// Whether a pod is in the mesh, by all that can be known without the agent. Where the list on disk would let it pass, the
/// node's proxies are asked too: the list stays as it is while the agent is away, they hear of every label.
fn standing(config: &Config<'_>, pod: &PodArgs, world: &mut World<'_>) -> Standing {
    if NEVER.contains(&pod.namespace.as_str()) {
        return Standing::Out;
    }
    let listed = listed(config, pod, world);
    if matches!(listed, Standing::In | Standing::Unknown) {
        return listed;
    }
    let told = world.proxies.lists(&config.run_dir, &pod.namespace);
    let inside = |text: &String| membership::standing(text, pod) == Ok(Standing::In);
    if told.iter().any(inside) {
        return Standing::In;
    }
    listed
}

/// What the list on disk says of a pod. A list that cannot be read says nothing, which is never a reason to pass.
fn listed(config: &Config<'_>, pod: &PodArgs, world: &mut World<'_>) -> Standing {
    let path = config.state_dir.join(FILE);
    let text = match world.lists.read(&config.state_dir) {
        Ok(None) => return Standing::Unknown,
        Ok(Some(text)) => membership::standing(&text, pod).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    text.unwrap_or_else(|error| {
        let path = path.display();
        (world.note)(format!("{path}: {error}; asking the agent instead"));
        Standing::Unknown
    })
}

/// Code 1 for a configuration whose version is older than the verb.
fn since_1_1(config: &Config<'_>, verb: &str) -> Result<(), CniError> {
    if config.version.has_gc_and_status() {
        return Ok(());
    }
    let why = format!("cniVersion {} has no {verb}", config.version.as_str());
    let error = CniError::new(INCOMPATIBLE_VERSION, why, format!("{verb} came with 1.1.0"));
    Err(error.in_version(config.version))
}

fn message(
    config: &Config<'_>,
    attachment: Attachment,
    netns: &Path,
    pod: PodArgs,
    ips: Vec<IpAddr>,
) -> cni::Attachment {
    cni::Attachment {
        container_id: attachment.container_id,
        ifname: attachment.ifname,
        network: config.network.clone(),
        netns: netns.to_string_lossy().into_owned(),
        pod_namespace: pod.namespace,
        pod_name: pod.name,
        pod_uid: pod.uid,
        ips,
    }
}
