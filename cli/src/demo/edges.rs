//! Which edges of the graph should see traffic: those that the manifests declare. A container's `UPSTREAMS` says whom
//! the sample app calls; the annotation `demo.weft.mesh/load` (lines of `URL RATE`) says what the demo sends from a pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weft_lab::object::{Objects, list, map, of_kind, text};

/// What the demo sends from a pod: a URL and requests a second, one pair a line.
pub(crate) const LOAD_ANNOTATION: &str = "demo.weft.mesh/load";

/// Client and Service of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// Namespace of the client.
    pub(crate) source_namespace: String,
    /// Canonical service of the client.
    pub(crate) source: String,
    /// Namespace of the Service.
    pub(crate) namespace: String,
    /// The Service.
    pub(crate) service: String,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            source_namespace,
            source,
            namespace,
            service,
        } = self;
        write!(f, "{source_namespace}/{source} → {namespace}/{service}")
    }
}

/// A pod that sends load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visitor {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its Deployment, or the pod itself.
    pub(crate) owner: String,
    /// URL and requests a second.
    pub(crate) load: Vec<(String, f64)>,
}

/// All declared edges.
pub(crate) fn declared(objects: &Objects) -> BTreeSet<Edge> {
    templates(objects)
        .flat_map(|(namespace, name, template)| {
            let calls = upstreams(template).into_iter();
            let load = load(template).into_iter().map(|(url, _)| url);
            let source = canonical(template, name);
            calls
                .chain(load)
                .filter_map(move |url| edge(namespace, &source, &url))
        })
        .collect()
}

/// All pods with the load annotation.
pub(crate) fn visitors(objects: &Objects) -> Vec<Visitor> {
    let all = templates(objects).map(|(namespace, name, template)| Visitor {
        namespace: namespace.to_owned(),
        owner: name.to_owned(),
        load: load(template),
    });
    all.filter(|visitor| !visitor.load.is_empty()).collect()
}

/// (namespace, name, pod template) of Deployments and pods.
fn templates(objects: &Objects) -> impl Iterator<Item = (&str, &str, &Value)> {
    let deployments = of_kind(objects, "Deployment")
        .filter_map(|(key, object)| Some((key, object.pointer("/spec/template")?)));
    let all = deployments.chain(of_kind(objects, "Pod"));
    all.map(|(key, template)| (key.namespace.as_str(), key.name.as_str(), template))
}

fn canonical(template: &Value, name: &str) -> String {
    const LABELS: [&str; 3] = [
        "service.istio.io/canonical-name",
        "app.kubernetes.io/name",
        "app",
    ];
    let labels: BTreeMap<String, String> = map(template, "/metadata/labels");
    let found = LABELS.iter().find_map(|label| labels.get(*label).cloned());
    found.unwrap_or_else(|| name.to_owned())
}

fn upstreams(template: &Value) -> Vec<String> {
    let containers = list(template, "/spec/containers").iter();
    let variables = containers.flat_map(|container| list(container, "/env"));
    let found = variables.filter(|v| text(v, "/name") == Some("UPSTREAMS"));
    found
        .filter_map(|v| text(v, "/value"))
        .flat_map(|urls| urls.split([',', ' ', '\n']))
        .filter(|url| !url.is_empty())
        .map(str::to_owned)
        .collect()
}

fn load(template: &Value) -> Vec<(String, f64)> {
    let annotations = map(template, "/metadata/annotations");
    let lines = annotations
        .get(LOAD_ANNOTATION)
        .map_or("", String::as_str)
        .lines();
    let pairs = lines.filter_map(|line| line.trim().split_once(char::is_whitespace));
    pairs
        .filter_map(|(url, rate)| Some((url.to_owned(), rate.trim().parse().ok()?)))
        .collect()
}

/// `http://reviews.shop:9080/x` from namespace `shop` → the Service shop/reviews.
fn edge(source_namespace: &str, source: &str, url: &str) -> Option<Edge> {
    let (_, rest) = url.split_once("://")?;
    let host = rest
        .split(['/', ':', '?'])
        .next()
        .filter(|h| !h.is_empty())?;
    let mut parts = host.split('.');
    Some(Edge {
        source_namespace: source_namespace.to_owned(),
        source: source.to_owned(),
        service: parts.next()?.to_owned(),
        namespace: parts.next().unwrap_or(source_namespace).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::samples;
    use weft_lab::manifests::Manifests;

    fn shop() -> Objects {
        let room = tempfile::tempdir().unwrap();
        samples::write(room.path()).unwrap();
        let reading = Manifests::default().read(&[room.path().to_owned()]);
        assert_eq!(reading.problems, Vec::<String>::new());
        reading.objects
    }

    #[test]
    fn the_shop_is_a_graph_of_at_least_eight_services() {
        let edges = declared(&shop());
        let services: BTreeSet<_> = edges.iter().map(|e| &e.service).collect();
        assert!(services.len() >= 8, "{services:?}");
        let find = |s: &str, d: &str| edges.iter().any(|e| e.source == s && e.service == d);
        assert!(
            find("visitors", "frontend") && find("cart", "store") && find("reviews", "ratings")
        );
        assert!(edges.iter().all(|e| e.namespace == "shop"));
    }

    #[test]
    fn visitors_say_what_they_send() {
        let found = visitors(&shop());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].load, [("http://frontend/".to_owned(), 30.0)]);
    }
}
