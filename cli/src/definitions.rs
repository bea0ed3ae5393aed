//! Definitions of kinds that a cluster has, and which of them are Weft's to change. What anybody else has installed is left
//! as it is; Istio's are judged one by one, the Gateway API's as one whole, because its channels and versions must not be
//! mixed. The chart's templates keep the same rules.

use std::cmp::Ordering;

use anyhow::bail;
use kube::Client;
use serde_json::Value;

use crate::cluster::object::Address;
use crate::cluster::{list, reason, text};
use crate::manifests;

/// Groups of the Gateway API: its own, and that of its experiments.
const GATEWAY_GROUPS: [&str; 2] = ["gateway.networking.k8s.io", "gateway.networking.x-k8s.io"];
/// Where its definitions say to which channel they belong.
const CHANNEL: &str = "/metadata/annotations/gateway.networking.k8s.io~1channel";
/// Where they say of which version they are.
const BUNDLE: &str = "/metadata/annotations/gateway.networking.k8s.io~1bundle-version";
/// The channel that we bring.
const STANDARD: &str = "standard";

/// Metadata is enough to judge, and a cluster may have a thousand definitions of many kilobytes.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// All of them.
pub(crate) const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A version like `v1.6.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bundle([u32; 3]);

impl Bundle {
    /// `v1.6.3` and nothing else: of a release candidate or a month nobody can say whether it is older.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix('v')?.split('.');
        let mut next = || numbers.next()?.parse::<u32>().ok();
        let bundle = Self([next()?, next()?, next()?]);
        next().is_none().then_some(bundle)
    }

    /// Whether it came before `v{major}.{minor}`.
    pub(crate) fn is_before(self, major: u32, minor: u32) -> bool {
        self < Self([major, minor, 0])
    }
}

/// Which channel a definition belongs to; empty when it does not say.
pub(crate) fn channel(definition: &Value) -> &str {
    text(definition, CHANNEL)
}

/// Its version in words; empty when it does not say.
pub(crate) fn bundle(definition: &Value) -> &str {
    text(definition, BUNDLE)
}

/// Metadata of all definitions.
///
/// # Errors
/// They cannot be read.
pub(crate) async fn found(client: &Client) -> anyhow::Result<Vec<Value>> {
    let request = http::Request::get(PATH)
        .header("accept", METADATA_ONLY)
        .body(Vec::new())?;
    match client.request::<Value>(request).await {
        Ok(all) => Ok(list(&all, "/items").to_vec()),
        Err(error) => bail!("definitions of kinds: {}", reason(&error)),
    }
}

/// The Gateway API's among these, of either channel. `XMesh` by itself, without the mark of a channel, may stand beside the
/// standard one and counts as none.
pub(crate) fn gateway_api(found: &[Value]) -> impl Iterator<Item = &Value> {
    found.iter().filter(|definition| {
        let name = text(definition, "/metadata/name");
        let group = name.split_once('.').map_or("", |(_, group)| group);
        group == GATEWAY_GROUPS[0]
            || (group == GATEWAY_GROUPS[1] && !channel(definition).is_empty())
    })
}

/// Why the Gateway API of this cluster is not ours to change; empty when it is, or there is none.
pub(crate) fn gateway_api_is_not_ours(found: &[Value], shipped: &[Value]) -> Vec<String> {
    gateway_api(found)
        .filter_map(|there| {
            let name = text(there, "/metadata/name");
            let same = |object: &&Value| text(object, "/metadata/name") == name;
            let why = why_not_ours(there, shipped.iter().find(same))?;
            Some(format!("{name}: {why}"))
        })
        .collect()
}

/// Why an object of the cluster is not ours to change although we ship one of its name.
pub(crate) fn why_not_ours(there: &Value, shipped: Option<&Value>) -> Option<String> {
    if !manifests::is_ours(there) {
        return Some("somebody else has installed it".to_owned());
    }
    let shipped = shipped.map(bundle).unwrap_or_default();
    if shipped.is_empty() {
        return None;
    }
    let (channel, version) = (channel(there), bundle(there));
    if channel != STANDARD {
        return Some(format!("its channel is {}", or_unknown(channel)));
    }
    // Somebody may have brought ours to a newer version.
    match Bundle::read(version).map(|version| Some(version).cmp(&Bundle::read(shipped))) {
        Some(Ordering::Less | Ordering::Equal) => None,
        _ => Some(format!("its version is {}", or_unknown(version))),
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// The object that the cluster has in the place of one of ours.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn in_place_of(
    client: &Client,
    shipped: &Value,
) -> anyhow::Result<(Address, Option<Value>)> {
    let address = Address::of(shipped)?;
    let there = address.find(client).await?;
    let there = there
        .map(|there| serde_json::to_value(&there))
        .transpose()?;
    Ok((address, there))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn there(name: &str, mark: bool, channel: &str, version: &str) -> Value {
        let mut metadata = json!({"name": name, "annotations": {
            "gateway.networking.k8s.io/channel": channel,
            "gateway.networking.k8s.io/bundle-version": version,
        }});
        if mark {
            metadata["labels"] = json!({"weft.mesh/installed": "true"});
        }
        json!({"metadata": metadata})
    }

    const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

    #[test]
    fn only_what_we_have_brought_and_nobody_has_changed_is_ours() {
        let shipped = manifests::gateway_api().unwrap();
        let why = |found: Value| gateway_api_is_not_ours(&[found], &shipped).join("; ");
        for ours in ["v1.6.3", "v1.6.2", "v1.5.9"] {
            assert_eq!(why(there(ROUTES, true, "standard", ours)), "", "{ours}");
        }
        for (found, words) in [
            (there(ROUTES, false, "standard", "v1.6.3"), "somebody else"),
            (
                there(ROUTES, true, "experimental", "v1.6.3"),
                "channel is experimental",
            ),
            (
                there(ROUTES, true, "standard", "v1.6.4"),
                "version is v1.6.4",
            ),
            (
                there(ROUTES, true, "standard", "v2.0.0"),
                "version is v2.0.0",
            ),
            (
                there(ROUTES, true, "standard", "v1.7.0-rc.1"),
                "version is v1.7.0-rc.1",
            ),
            (there(ROUTES, true, "standard", ""), "version is unknown"),
            (there(ROUTES, true, "", "v1.6.3"), "channel is unknown"),
            (
                there(
                    "xlistenersets.gateway.networking.x-k8s.io",
                    false,
                    "experimental",
                    "v1.6.3",
                ),
                "somebody else",
            ),
            (
                json!({"metadata": {"name": "old.gateway.networking.k8s.io"}}),
                "somebody else",
            ),
        ] {
            let why = why(found.clone());
            assert!(why.contains(words), "{found}: {why}");
        }
        let alone = json!({"metadata": {"name": "xmeshes.gateway.networking.x-k8s.io"}});
        assert_eq!(why(alone), "", "stands beside the standard channel");
        let istio = json!({"metadata": {"name": "gateways.networking.istio.io"}});
        assert_eq!(why(istio), "");
    }

    #[test]
    fn versions_are_compared_by_number() {
        let read = |text| Bundle::read(text).unwrap();
        assert!(read("v1.10.0") > read("v1.9.3"));
        assert!(read("v1.0.0").is_before(1, 1) && !read("v1.1.0").is_before(1, 1));
        for bad in ["", "1.6.3", "v1.6", "v1.6.3.1", "v1.6.3-rc.1", "v1.x.3"] {
            assert_eq!(Bundle::read(bad), None, "{bad}");
        }
    }
}
