//! The bans of deny.toml, enforced on Cargo.lock without a tool to install.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use serde::Deserialize;

use super::Violation;

#[derive(Deserialize)]
struct Settings {
    bans: Bans,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
    skip: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    name: String,
    reason: String,
    /// The only crates that may import it.
    #[serde(default)]
    wrappers: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Reads both files and compares.
///
/// # Errors
/// A file is missing or is not what cargo and cargo-deny write.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
    };
    compare(&read("deny.toml")?, &read("Cargo.lock")?)
}

fn compare(settings: &str, lock: &str) -> anyhow::Result<Vec<Violation>> {
    let bans = toml::from_str::<Settings>(settings)
        .context("deny.toml")?
        .bans;
    let locked = toml::from_str::<Lock>(lock).context("Cargo.lock")?.package;
    let mut found = banned(&bans, &locked);
    found.extend(duplicates(&bans, &locked));
    found.extend(foreign_sources(&locked));
    Ok(found)
}

fn banned(bans: &Bans, locked: &[Locked]) -> Vec<Violation> {
    let mut found = Vec::new();
    for ban in &bans.deny {
        for package in locked {
            // A dependency is written `name`, or `name version` where the lock holds several.
            let imports = package
                .dependencies
                .iter()
                .any(|dependency| dependency.split(' ').next() == Some(ban.name.as_str()));
            if imports && !ban.wrappers.contains(&package.name) {
                found.push(Violation {
                    place: package.name.clone(),
                    what: format!("imports {}, which deny.toml bans: {}", ban.name, ban.reason),
                });
            }
        }
    }
    found
}

fn duplicates(bans: &Bans, locked: &[Locked]) -> Vec<Violation> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in locked {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    versions
        .iter()
        .filter(|(name, versions)| {
            versions.len() > 1 && !bans.skip.iter().any(|skip| skip.name == **name)
        })
        .map(|(name, versions)| Violation {
            place: (*name).to_owned(),
            what: format!(
                "is linked in versions {}: align them, or add a reasoned `skip` to deny.toml",
                versions.join(" and ")
            ),
        })
        .collect()
}

fn foreign_sources(locked: &[Locked]) -> Vec<Violation> {
    locked
        .iter()
        .filter(|package| {
            package
                .source
                .as_deref()
                .is_some_and(|source| !source.starts_with("registry+"))
        })
        .map(|package| Violation {
            place: package.name.clone(),
            what: "comes from no registry: published crates only".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::compare;

    const SETTINGS: &str = r#"
        [bans]
        deny = [
          { name = "native-tls", reason = "one TLS provider" },
          { name = "async-trait", reason = "boxes", wrappers = ["tonic"] },
        ]
        skip = [{ name = "syn", reason = "build time only" }]
    "#;

    fn lock(packages: &str) -> Vec<String> {
        let found = compare(SETTINGS, packages).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_banned_import_is_found_and_a_wrapped_one_is_not() {
        let found = lock(
            r#"
            [[package]]
            name = "tonic"
            version = "1.0.0"
            dependencies = ["async-trait"]
            [[package]]
            name = "weft-proxy"
            version = "0.1.0"
            dependencies = ["async-trait 1.0.0", "native-tls"]
            "#,
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found
                .iter()
                .all(|text| text.starts_with("weft-proxy: imports")),
            "{found:?}"
        );
    }

    #[test]
    fn two_versions_and_git_sources_are_found() {
        let found = lock(
            r#"
            [[package]]
            name = "syn"
            version = "1.0.0"
            [[package]]
            name = "syn"
            version = "2.0.0"
            [[package]]
            name = "nix"
            version = "1.0.0"
            [[package]]
            name = "nix"
            version = "2.0.0"
            source = "git+https://example.org/nix"
            "#,
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("1.0.0 and 2.0.0"));
        assert!(found[1].contains("no registry"));
    }
}
