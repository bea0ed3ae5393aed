//! Import rules on cargo's own data: direct imports by the table, closures of pure crates by `cargo tree`.

use super::{IMPURE, MAY_IMPORT, NO_RUNTIME, PURE, Violation};
use crate::{
    programs,
    workspace::{Package, Workspace, cargo},
};

/// Direct imports against the table.
pub(crate) fn check(packages: &[Package]) -> Vec<Violation> {
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut found = Vec::new();
    for package in packages {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == package.name) else {
            found.push(Violation {
                place: package.name.clone(),
                what: "is not in MAY_IMPORT: add a line that says what it may import".to_owned(),
            });
            continue;
        };
        for dependency in &package.dependencies {
            let test_only = dependency.kind.as_deref() == Some("dev");
            if !ours(&dependency.name) || test_only || dependency.name == package.name {
                continue;
            }
            if !allowed.contains(&dependency.name.as_str()) {
                found.push(Violation {
                    place: package.name.clone(),
                    what: format!("imports {}, which its layer may not", dependency.name),
                });
            }
        }
    }
    found
}

/// What pure crates and the plugin link in the end.
///
/// # Errors
/// Cargo cannot resolve.
pub(crate) fn check_closures(workspace: &Workspace) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for name in PURE {
        found.extend(check_closure(name, &closure(workspace, name)?, IMPURE));
    }
    for name in NO_RUNTIME {
        found.extend(check_closure(
            name,
            &closure(workspace, name)?,
            &["tokio", "hyper", "tonic"],
        ));
    }
    Ok(found)
}

fn check_closure(name: &str, closure: &[String], banned: &[&str]) -> Vec<Violation> {
    banned
        .iter()
        .filter(|banned| closure.iter().any(|linked| linked == *banned))
        .map(|banned| Violation {
            place: name.to_owned(),
            what: format!("links {banned} (see `cargo tree -p {name} -i {banned} -e normal`)"),
        })
        .collect()
}

/// Names of all crates that `name` links with its default features.
fn closure(workspace: &Workspace, name: &str) -> anyhow::Result<Vec<String>> {
    if workspace.package(name).is_none() {
        anyhow::bail!("layers: no package {name}; the tables name one that is gone");
    }
    let text = programs::output(cargo().args([
        "tree",
        "--package",
        name,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{check, check_closure};
    use crate::workspace::{Dependency, Package};

    fn package(name: &str, imports: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: "Cargo.toml".into(),
            dependencies: imports
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                })
                .collect(),
        }
    }

    #[test]
    fn an_upward_import_is_found_and_a_downward_one_is_not() {
        let found = check(&[
            package("weft-model", &[("weft-decide", None), ("serde", None)]),
            package("weft-decide", &[("weft-model", None)]),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].to_string(),
            "weft-model: imports weft-decide, which its layer may not"
        );
    }

    #[test]
    fn a_program_must_not_import_a_program() {
        let found = check(&[
            package("weft-proxy", &[("weft-operator", None)]),
            package("weft-operator", &[]),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn tests_may_import_more_but_a_build_script_may_not() {
        let found = check(&[
            package(
                "weft-model",
                &[("weft-k8s", Some("dev")), ("weft-h1", Some("build"))],
            ),
            package("weft-k8s", &[]),
            package("weft-h1", &[]),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("weft-h1"));
    }

    #[test]
    fn a_package_without_a_line_is_found() {
        let found = check(&[package("weft-new", &[])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("MAY_IMPORT"));
    }

    #[test]
    fn a_runtime_in_a_pure_closure_is_found() {
        let closure = [
            "weft-decide".to_owned(),
            "http".to_owned(),
            "tokio".to_owned(),
        ];
        let found = check_closure("weft-decide", &closure, &["tokio", "hyper"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("links tokio"));
    }
}
