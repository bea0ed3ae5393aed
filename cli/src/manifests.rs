//! What an installation consists of: the very manifests of deploy/manifests, kept in this program, with the few edits that
//! its flags ask for. An edit names the object and place that it changes and fails when that is not there, so that a flag can never
//! be without effect.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cluster::{list, text};

/// Everything but resource definitions.
const OBJECTS: &str = include_str!("../../deploy/manifests/weft.yaml");
/// Definitions of Istio's kinds, with our mark.
const DEFINITIONS: &str = include_str!("../../deploy/manifests/crds.yaml");
/// The Gateway API's standard channel, as published.
const GATEWAY_API: &str = include_str!("../../deploy/charts/weft/files/gateway-api.yaml");
/// Who made an object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value on ours.
const OURS: &str = "weft";
/// The label of definitions that Weft has brought, by this program or by helm.
const MARK: &str = "weft.mesh/installed";

/// What can be chosen.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Choices {
    /// Host and path before the images' names, as in registry.example.com/mesh.
    #[arg(long, value_name = "PREFIX")]
    image_registry: Option<String>,
    /// Tag of the images; else the version of this program.
    #[arg(long, value_name = "TAG")]
    image_tag: Option<String>,
    /// Always, IfNotPresent or Never.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// Replicas of the operator: one leads, the others stand by.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: Option<u8>,
    /// Where this distribution's container runtime looks for CNI plugins; else /opt/cni/bin.
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    cni_bin_dir: Option<String>,
    /// Where it looks for networks; else /etc/cni/net.d.
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    cni_conf_dir: Option<String>,
    /// Where it names network namespaces; else /run/netns.
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    netns_dir: Option<String>,
}

fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') && !path.contains("..") {
        return Ok(path.to_owned());
    }
    Err("a directory on the nodes, from / on".to_owned())
}

/// The definitions of Istio's kinds, in the order of their installation.
pub(crate) fn definitions() -> anyhow::Result<Vec<Value>> {
    parse(DEFINITIONS)
}

/// The Gateway API's definitions and the policy that guards their upgrades, with our mark.
pub(crate) fn gateway_api() -> anyhow::Result<Vec<Value>> {
    let mut objects = parse(GATEWAY_API)?;
    for object in &mut objects {
        place(object, "/metadata")?["labels"][MARK] = json!("true");
        place(object, "/metadata")?["annotations"]["helm.sh/resource-policy"] = json!("keep");
    }
    Ok(objects)
}

/// Everything else, in the order of its installation.
pub(crate) fn objects(choices: &Choices) -> anyhow::Result<Vec<Value>> {
    let mut objects = parse(OBJECTS)?;
    for object in &mut objects {
        label(object);
    }
    choices.apply(&mut objects)?;
    Ok(objects)
}

/// Whether Weft has made this definition; others' stay as they are.
pub(crate) fn is_ours(definition: &Value) -> bool {
    definition
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(MARK))
        .is_some()
}

/// Objects as YAML documents.
pub(crate) fn yaml(objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(object).context("cannot be written as YAML")?);
    }
    Ok(text)
}

fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    // kubectl and helm read YAML 1.1, where a file mode begins with a zero.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).context("the manifests")?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// The rendered manifests say that helm made them, which is not so.
fn label(object: &mut Value) {
    for place in ["/metadata/labels", "/spec/template/metadata/labels"] {
        let labels = object.pointer_mut(place).and_then(Value::as_object_mut);
        if let Some(by) = labels.and_then(|labels| labels.get_mut(MANAGED_BY)) {
            *by = json!(OURS);
        }
    }
}

impl Choices {
    fn apply(&self, objects: &mut [Value]) -> anyhow::Result<()> {
        for part in ["operator", "agent", "proxy"] {
            let workload = workload(objects, part)?;
            let container = place(workload, "/spec/template/spec/containers/0")?;
            let tag = match &self.image_tag {
                Some(tag) => tag.clone(),
                None => {
                    let (_, tag) = text(container, "/image")
                        .rsplit_once(':')
                        .unwrap_or_default();
                    tag.to_owned()
                }
            };
            let registry = self.image_registry.as_deref().unwrap_or_default();
            let prefix = match registry.trim_end_matches('/') {
                "" => String::new(),
                registry => format!("{registry}/"),
            };
            *place(container, "/image")? = json!(format!("{prefix}weft-{part}:{tag}"));
            if let Some(policy) = &self.image_pull_policy {
                *place(container, "/imagePullPolicy")? = json!(policy);
            }
        }
        if let Some(replicas) = self.replicas {
            *place(workload(objects, "operator")?, "/spec/replicas")? = json!(replicas);
        }
        for (volume, path) in [
            ("cni-bin", &self.cni_bin_dir),
            ("cni-conf", &self.cni_conf_dir),
            ("netns", &self.netns_dir),
        ] {
            if let Some(path) = path {
                let agent = workload(objects, "agent")?;
                let volumes = list(agent, "/spec/template/spec/volumes").iter();
                let index = volumes
                    .enumerate()
                    .find(|(_, found)| text(found, "/name") == volume)
                    .map(|(index, _)| index)
                    .with_context(|| format!("weft-agent has no volume {volume}"))?;
                let at = format!("/spec/template/spec/volumes/{index}/hostPath/path");
                *place(agent, &at)? = json!(path);
            }
        }
        Ok(())
    }
}

fn workload<'a>(objects: &'a mut [Value], part: &str) -> anyhow::Result<&'a mut Value> {
    let name = format!("weft-{part}");
    objects
        .iter_mut()
        .find(|object| {
            ["Deployment", "DaemonSet"].contains(&text(object, "/kind"))
                && text(object, "/metadata/name") == name
        })
        .with_context(|| format!("the manifests have no workload {name}"))
}

fn place<'a>(object: &'a mut Value, pointer: &str) -> anyhow::Result<&'a mut Value> {
    match object.pointer_mut(pointer) {
        Some(found) => Ok(found),
        None => bail!("the manifests have nothing at {pointer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
        let is = |object: &&Value| {
            text(object, "/kind") == kind && text(object, "/metadata/name") == name
        };
        objects.iter().find(is).unwrap()
    }

    #[test]
    fn every_choice_changes_what_it_says_and_nothing_else() {
        let plain = objects(&Choices::default()).unwrap();
        let chosen = objects(&Choices {
            image_registry: Some("registry.example.com/mesh/".to_owned()),
            image_tag: Some("7".to_owned()),
            image_pull_policy: Some("Never".to_owned()),
            replicas: Some(3),
            cni_bin_dir: Some("/k3s/bin".to_owned()),
            cni_conf_dir: Some("/k3s/conf".to_owned()),
            netns_dir: Some("/var/run/netns".to_owned()),
        })
        .unwrap();
        let agent = find(&chosen, "DaemonSet", "weft-agent");
        let container = "/spec/template/spec/containers/0";
        assert_eq!(
            text(agent, &format!("{container}/image")),
            "registry.example.com/mesh/weft-agent:7"
        );
        assert_eq!(
            text(agent, &format!("{container}/imagePullPolicy")),
            "Never"
        );
        let paths: Vec<&str> = list(agent, "/spec/template/spec/volumes")
            .iter()
            .map(|volume| text(volume, "/hostPath/path"))
            .collect();
        for path in ["/k3s/bin", "/k3s/conf", "/var/run/netns"] {
            assert!(paths.contains(&path), "{paths:?}");
        }
        let operator = find(&chosen, "Deployment", "weft-operator");
        assert_eq!(operator["spec"]["replicas"], 3);
        let others = |all: &[Value]| {
            let kinds = ["Deployment", "DaemonSet"];
            let rest = all.iter().filter(|o| !kinds.contains(&text(o, "/kind")));
            rest.cloned().collect::<Vec<_>>()
        };
        assert_eq!(others(&plain), others(&chosen));
        let image = text(
            find(&plain, "DaemonSet", "weft-agent"),
            "/spec/template/spec/containers/0/image",
        );
        assert_eq!(image, format!("weft-agent:{}", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn what_is_printed_is_what_is_applied() {
        let objects = objects(&Choices::default()).unwrap();
        let again = parse(&yaml(&objects).unwrap()).unwrap();
        assert_eq!(again, objects);
        let proxy = find(&objects, "DaemonSet", "weft-proxy");
        let token = list(proxy, "/spec/template/spec/volumes");
        let modes: Vec<_> = token
            .iter()
            .filter_map(|volume| volume.pointer("/projected/defaultMode"))
            .collect();
        assert_eq!(modes, [&json!(0o400)], "octal, as kubectl reads it");
        assert!(!yaml(&objects).unwrap().contains("Helm"));
        assert_eq!(text(&objects[0], "/kind"), "Namespace");
        assert!(definitions().unwrap().iter().all(is_ours));
        let gateway_api = gateway_api().unwrap();
        assert!(gateway_api.iter().all(is_ours));
        assert_eq!(parse(&yaml(&gateway_api).unwrap()).unwrap(), gateway_api);
    }
}
