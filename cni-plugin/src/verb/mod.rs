//! The verbs: each reads its own environment and configuration, decides, and answers.

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod del;

use std::net::IpAddr;
use std::path::Path;

use weft_wire::cni;

use crate::dispatch::World;
use crate::membership::{self, Standing};
use crate::spec::args::{Attachment, PodArgs};
use crate::spec::config::Config;

/// Namespaces that are never in the mesh, by name: the cluster's own and ours must start while everything else waits.
pub(crate) const NEVER: [&str; 2] = ["kube-system", "weft-system"];

/// What the list on disk says of a pod. A list that cannot be read says nothing, which is never a reason to pass.
fn standing(config: &Config<'_>, pod: &PodArgs, world: &mut World<'_>) -> Standing {
    if NEVER.contains(&pod.namespace.as_str()) {
        return Standing::Out;
    }
    let path = config.state_dir.join(membership::FILE);
    match world.lists.read(&config.state_dir) {
        Ok(None) => Standing::Unknown,
        Ok(Some(text)) => membership::standing(&text, pod).unwrap_or_else(|error| {
            (world.note)(format!(
                "{}: {error}; asking the agent instead",
                path.display()
            ));
            Standing::Unknown
        }),
        Err(error) => {
            (world.note)(format!(
                "{}: {error}; asking the agent instead",
                path.display()
            ));
            Standing::Unknown
        }
    }
}

fn message(
    attachment: Attachment,
    netns: &Path,
    pod: PodArgs,
    ips: Vec<IpAddr>,
) -> cni::Attachment {
    cni::Attachment {
        container_id: attachment.container_id,
        ifname: attachment.ifname,
        netns: netns.to_string_lossy().into_owned(),
        pod_namespace: pod.namespace,
        pod_name: pod.name,
        pod_uid: pod.uid,
        ips,
    }
}
