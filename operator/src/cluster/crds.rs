//! Istio's `VirtualService` and `DestinationRule` as CustomResourceDefinitions, for clusters that have none: schemas made
//! from the very types that read the objects, so that schema and behaviour cannot drift apart.
//!
//! Fields that we do not read are let through (`x-kubernetes-preserve-unknown-fields`): the API server would otherwise cut
//! them off in silence, and nobody could be told that they are not honoured.

use serde_json::{Map, Value, json};
use weft_k8s::Kind;
use weft_k8s::schema::{self, Schema};

mod rules;

/// Group, kind, columns and whatever else `kubectl` shows.
struct Crd {
    kind: Kind,
    short: &'static [&'static str],
    describes: &'static str,
    columns: &'static [Column],
}

/// Name, path, description, and 0, or 1 for `-o wide` only.
type Column = (&'static str, &'static str, &'static str, u8);

const CRDS: &[Crd] = &[
    Crd {
        kind: Kind::VirtualService,
        short: &["vs"],
        describes: "Routes of one or more hosts: which requests go where, how they are changed, retried and limited in time.",
        columns: &[
            (
                "Gateways",
                ".spec.gateways",
                "Gateways that the routes apply to",
                1,
            ),
            ("Hosts", ".spec.hosts", "Hosts whose requests are routed", 0),
            ACCEPTED,
            PROGRAMMED,
            REASON,
        ],
    },
    Crd {
        kind: Kind::DestinationRule,
        short: &["dr"],
        describes: "Subsets of a host, and how its endpoints are chosen and connected to.",
        columns: &[
            ("Host", ".spec.host", "The host", 0),
            ("Subsets", ".spec.subsets[*].name", "Names of its parts", 1),
            ACCEPTED,
            PROGRAMMED,
            REASON,
        ],
    },
];

const ACCEPTED: Column = (
    "Accepted",
    ".status.conditions[?(@.type==\"Accepted\")].status",
    "Whether the mesh understands it",
    0,
);
const PROGRAMMED: Column = (
    "Programmed",
    ".status.conditions[?(@.type==\"Programmed\")].message",
    "On how many nodes it is in force",
    0,
);
const REASON: Column = (
    "Message",
    ".status.conditions[?(@.type==\"Accepted\")].message",
    "What is wrong with it, if anything",
    1,
);
/// Marks our definitions for the command line, which leaves Istio's alone.
const OURS: (&str, &str) = ("weft.mesh/installed", "true");
/// Tells helm that they outlive a release, for all policies would go with them.
const KEPT: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// All definitions, one JSON document each.
#[must_use]
pub fn documents() -> Vec<Value> {
    CRDS.iter().map(document).collect()
}

/// All definitions as one file of YAML documents.
#[must_use]
pub fn text() -> String {
    let mut text = String::from(
        "# Made by `weft-operator crds` from the types that read the objects; do not edit.\n",
    );
    for document in documents() {
        text.push_str("---\n");
        // Plain JSON values can always be written; what could not be would be missed by the test of the file.
        text.push_str(&serde_saphyr::to_string(&document).unwrap_or_default());
    }
    text
}

fn document(crd: &Crd) -> Value {
    let (kind, plural) = (crd.kind.name(), crd.kind.plural());
    let versions = crd.kind.versions().iter().enumerate();
    let versions: Vec<Value> = versions
        .map(|(rank, version)| self::version(crd, version, rank == 0))
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{}", crd.kind.group()),
            "annotations": {KEPT.0: KEPT.1},
            "labels": {OURS.0: OURS.1},
        },
        "spec": {
            "group": crd.kind.group(),
            "scope": "Namespaced",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                "singular": kind.to_ascii_lowercase(), "shortNames": crd.short,
                "categories": ["istio-io", "networking-istio-io", "weft"],
            },
            "versions": versions,
        },
    })
}

fn version(crd: &Crd, name: &str, stored: bool) -> Value {
    let columns = crd
        .columns
        .iter()
        .map(|(name, path, description, priority)| {
            json!({
                "name": name, "type": "string", "jsonPath": path, "description": description,
                "priority": priority,
            })
        });
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    let columns: Vec<Value> = columns.chain([age]).collect();
    json!({
        "name": name, "served": true, "storage": stored,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": {
            "type": "object",
            "description": crd.describes,
            "required": ["spec"],
            "properties": {"spec": spec(crd.kind), "status": status()},
        }},
    })
}

fn spec(kind: Kind) -> Value {
    let Schema(spec) = schema::spec(kind).unwrap_or_default();
    let mut spec = structural(spec);
    rules::add(kind, &mut spec);
    spec
}

/// What every policy's status is.
fn status() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "description": "What became of it; written by the operator.",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64", "description": "Generation of the spec that this is about."},
            "conditions": {
                "type": "array",
                "description": "Accepted: whether the mesh understands it. Programmed: on how many nodes it is in force.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status"],
                    "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "type": text("Accepted or Programmed."),
                        "status": text("True, False or Unknown."),
                        "observedGeneration": {"type": "integer", "format": "int64", "description": "Generation of the spec that this is about."},
                        "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status changed last."},
                        "reason": text("One word for programs."),
                        "message": text("Words for people."),
                    },
                },
            },
        },
    })
}

/// A JSON schema as the API server wants it (structural: no references, no unions of types, no defaults of ours).
fn structural(schema: Value) -> Value {
    let Value::Object(fields) = schema else {
        return schema;
    };
    let mut fields: Map<String, Value> = fields.into_iter().collect();
    for field in ["$schema", "title", "default", "definitions", "$defs"] {
        fields.remove(field);
    }
    nullable(&mut fields);
    // The API server knows few formats and warns about the others; `minimum` says the same of unsigned numbers.
    if fields
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint"))
    {
        fields.remove("format");
    }
    for (name, part) in &mut fields {
        *part = match (name.as_str(), part.take()) {
            ("properties", Value::Object(all)) => {
                let all = all.into_iter().map(|(name, part)| (name, structural(part)));
                Value::Object(all.collect())
            }
            ("items" | "additionalProperties", part) => structural(part),
            (_, part) => part,
        };
    }
    let is_struct =
        fields.get("type") == Some(&json!("object")) && fields.contains_key("properties");
    if is_struct {
        fields.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            json!(true),
        );
    }
    Value::Object(fields)
}

/// `Option<T>` is written as "T or null"; the API server takes T and drops null.
fn nullable(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get("type") {
        let only = types.iter().find(|word| **word != json!("null")).cloned();
        fields.insert("type".to_owned(), only.unwrap_or(json!("object")));
    }
    if let Some(Value::Array(any)) = fields.remove("anyOf") {
        let only = any
            .into_iter()
            .find(|part| part.get("type") != Some(&json!("null")));
        if let Some(Value::Object(inner)) = only {
            for (key, value) in inner {
                fields.entry(key).or_insert(value);
            }
            nullable(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_structural_and_say_what_the_types_say() {
        let text = text();
        for word in [
            "perTryTimeout",
            "withoutHeaders",
            "trafficPolicy",
            "Programmed",
        ] {
            assert!(text.contains(word), "{word}");
        }
        for word in ["$ref", "$defs", "uint", "default:"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
