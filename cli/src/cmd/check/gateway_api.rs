//! Which Gateway API the cluster has: one channel, one version, young enough for routes of Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::facts::Facts;
use super::report::Line;
use crate::cluster::{is_true, text};
use crate::definitions::{self, Bundle};

/// Oldest version, major and minor: since then a route's parent may be a Service in the standard channel.
const OLDEST: (u32, u32) = (1, 1);
/// Without it there is nothing for Weft in the Gateway API.
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

/// Whether it should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Weft is installed, and brings it.
    There,
    /// Weft is not installed yet.
    Perhaps,
}

/// The line about it.
pub(super) fn line(facts: &Facts, expected: Expected) -> Line {
    const WHAT: &str = "the Gateway API is defined";
    Line::about(WHAT, &facts.definitions, |found| {
        let there: Vec<&Value> = definitions::gateway_api(found).collect();
        if there.is_empty() {
            return match expected {
                Expected::There => Line::should(
                    WHAT,
                    vec!["it is not: there are no HTTPRoutes".to_owned()],
                    "weft install, or helm upgrade, brings its standard channel",
                ),
                Expected::Perhaps => Line::should(
                    "the Gateway API is not defined yet: an installation brings its standard channel",
                    Vec::new(),
                    "",
                ),
            };
        }
        let (channels, versions) = (
            words(&there, definitions::channel),
            words(&there, definitions::bundle),
        );
        let shown = format!(
            "{WHAT} ({}, {} channel)",
            joined(&versions),
            joined(&channels)
        );
        Line::should(
            shown,
            problems(&there, &channels, &versions),
            "https://gateway-api.sigs.k8s.io/guides/ says how definitions are upgraded; Weft changes only those that it has brought",
        )
    })
}

fn problems(there: &[&Value], channels: &BTreeSet<&str>, versions: &BTreeSet<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    let routes = there
        .iter()
        .find(|found| text(found, "/metadata/name") == ROUTES);
    match routes {
        None => problems.push(format!("{ROUTES} is not there")),
        Some(found) if !is_true(found, "Established") => {
            problems.push(format!("{ROUTES} is not established"));
        }
        Some(_) => {}
    }
    if channels.len() > 1 {
        problems.push("definitions of different channels are mixed".to_owned());
    }
    if versions.len() > 1 {
        problems.push("definitions of different versions are mixed".to_owned());
    }
    let (major, minor) = OLDEST;
    for version in versions {
        if Bundle::read(version).is_some_and(|bundle| bundle.is_before(major, minor)) {
            problems.push(format!(
                "{version} is too old: routes of Services came with v{major}.{minor}"
            ));
        }
    }
    problems
}

fn words<'a>(there: &[&'a Value], word: fn(&'a Value) -> &'a str) -> BTreeSet<&'a str> {
    there
        .iter()
        .map(|found| match word(found) {
            "" => "unknown",
            word => word,
        })
        .collect()
}

fn joined(words: &BTreeSet<&str>) -> String {
    words.iter().copied().collect::<Vec<_>>().join(" and ")
}
