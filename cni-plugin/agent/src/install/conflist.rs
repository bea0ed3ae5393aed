//! From the primary's configuration to ours, text to text. Ours is the primary's with our entry last; nothing that the
//! primary says is changed: not its version, not its name, not the order or spelling of its keys.

use std::path::Path;

use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::object::Object;

/// Type of our entry, which is the name of the binary.
pub(crate) const PLUGIN: &str = "weft-cni";
/// Versions of the specification that the plugin speaks.
const SPOKEN: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Names for our file; the first one that sorts before every other file is used.
const OWN_NAMES: [&str; 4] = [
    "00-weft.conflist",
    "00-0-weft.conflist",
    "00--weft.conflist",
    "!weft.conflist",
];

/// Why a file cannot be chained to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// Not JSON, or a field of the wrong type.
    #[error("is no network configuration: {0}")]
    Malformed(String),
    /// A version that we do not speak, now or when the runtime negotiates.
    #[error(
        "cniVersion {0:?} is not supported: weft-cni speaks 0.3.1, 0.4.0, 1.0.0 and 1.1.0; set one of these"
    )]
    Version(String),
    /// A list without plugins.
    #[error("names no plugin")]
    NoPlugins,
    /// A type that leaves the plugin directory (CVE-2021-20206).
    #[error("has a plugin of type {0:?}, which is a path and not a name")]
    PluginType(String),
}

/// One file of the configuration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// File name.
    pub(crate) name: String,
    /// Content.
    pub(crate) text: String,
}

/// The first usable primary, and what was passed over before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Name of the primary's file and the text of ours.
    pub(crate) derived: Option<(String, String)>,
    /// Files that come before it and cannot be used; the runtime skips them too.
    pub(crate) skipped: Vec<(String, Unusable)>,
}

/// Our entry; what the plugin reads of it is in its `spec::config`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    run_dir: &'a Path,
    state_dir: &'a Path,
}

/// Whether a runtime would read a file of this name.
pub(crate) fn is_config(name: &str) -> bool {
    matches!(
        Path::new(name).extension().and_then(|e| e.to_str()),
        Some("conf" | "conflist" | "json")
    )
}

/// Whether the file is one that we made.
pub(crate) fn is_own(name: &str) -> bool {
    OWN_NAMES.contains(&name)
}

/// The name of our file beside these others: it must sort first, for the runtime takes the first file only.
pub(crate) fn own_name<'a>(others: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    OWN_NAMES
        .into_iter()
        .find(|own| others.clone().all(|other| *own < other))
}

/// Chooses the primary as the runtime does (first valid file in the order of names) and derives ours from it.
pub(crate) fn choose(mut sources: Vec<Source>, run_dir: &Path, state_dir: &Path) -> Choice {
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let mut skipped = Vec::new();
    for source in sources {
        match derive(&source, run_dir, state_dir) {
            Ok(text) => {
                return Choice {
                    derived: Some((source.name, text)),
                    skipped,
                };
            }
            Err(why) => skipped.push((source.name, why)),
        }
    }
    Choice {
        derived: None,
        skipped,
    }
}

/// Our conflist for one primary.
pub(crate) fn derive(
    source: &Source,
    run_dir: &Path,
    state_dir: &Path,
) -> Result<String, Unusable> {
    let object: Object<'_> =
        serde_json::from_str(&source.text).map_err(|e| Unusable::Malformed(e.to_string()))?;
    versions(&object)?;
    let entry = Entry {
        kind: PLUGIN,
        run_dir,
        state_dir,
    };
    let entry = to_raw_value(&entry).map_err(|e| Unusable::Malformed(e.to_string()))?;
    if source.name.ends_with(".conflist") {
        let raw = object.get("plugins").ok_or(Unusable::NoPlugins)?;
        let all: Vec<&RawValue> = serde_json::from_str(raw.get())
            .map_err(|e| Unusable::Malformed(format!("plugins: {e}")))?;
        let mut plugins = Vec::new();
        for plugin in all {
            if plugin_type(plugin)? != PLUGIN {
                plugins.push(plugin);
            }
        }
        if plugins.is_empty() {
            return Err(Unusable::NoPlugins);
        }
        plugins.push(&entry);
        Ok(render(&object.0, &plugins))
    } else {
        // A single plugin's file becomes a list of it and us; libcni gives name and version to each plugin by itself.
        let plugin: &RawValue =
            serde_json::from_str(&source.text).map_err(|e| Unusable::Malformed(e.to_string()))?;
        plugin_type(plugin)?;
        let placeholder = ("plugins".to_owned(), plugin);
        let head = object
            .0
            .iter()
            .filter(|(key, _)| key == "cniVersion" || key == "name")
            .cloned();
        let entries: Vec<_> = head.chain([placeholder]).collect();
        Ok(render(&entries, &[plugin, &entry]))
    }
}

/// The types of the plugins in a conflist; none where it is no conflist.
pub(crate) fn types(text: &str) -> Vec<String> {
    let object = serde_json::from_str::<Object<'_>>(text).ok();
    let raw = object.as_ref().and_then(|object| object.get("plugins"));
    let plugins = raw.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
    let kinds = plugins.unwrap_or_default().into_iter();
    kinds
        .filter_map(|plugin| plugin_type(plugin).ok())
        .collect()
}

fn versions(object: &Object<'_>) -> Result<(), Unusable> {
    let one: Option<String> = object.decode("cniVersion").map_err(Unusable::Malformed)?;
    let many: Option<Vec<String>> = object.decode("cniVersions").map_err(Unusable::Malformed)?;
    let offered = many
        .unwrap_or_default()
        .into_iter()
        .chain([one.unwrap_or_default()]);
    match offered
        .into_iter()
        .find(|version| !SPOKEN.contains(&version.as_str()))
    {
        Some(version) => Err(Unusable::Version(version)),
        None => Ok(()),
    }
}

fn plugin_type(plugin: &RawValue) -> Result<String, Unusable> {
    let object: Object<'_> = serde_json::from_str(plugin.get())
        .map_err(|e| Unusable::Malformed(format!("plugins: {e}")))?;
    match object
        .decode::<String>("type")
        .map_err(Unusable::Malformed)?
    {
        None => Err(Unusable::Malformed("a plugin has no type".to_owned())),
        Some(name) if name.is_empty() || name.contains('/') || name == ".." => {
            Err(Unusable::PluginType(name))
        }
        Some(name) => Ok(name),
    }
}

fn render(entries: &[(String, &RawValue)], plugins: &[&RawValue]) -> String {
    let lines: Vec<String> = entries
        .iter()
        .map(|(key, value)| {
            let value = match key.as_str() {
                "plugins" => {
                    let each: Vec<String> = plugins
                        .iter()
                        .map(|plugin| format!("    {}", plugin.get()))
                        .collect();
                    format!("[\n{}\n  ]", each.join(",\n"))
                }
                _ => value.get().to_owned(),
            };
            format!("  {}: {value}", json!(key))
        })
        .collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests;
