//! What the API server itself refuses in a spec: Istio's own rules where it has them, the few that `istioctl` would only warn
//! of and that can never be right, and caps on every list, map and text, so that no object can cost more than it is worth.
//!
//! Whatever is refused here is refused at `kubectl apply`, with its message. What depends on other objects is told in the
//! status instead.

use serde_json::{Map, Value, json};
use weft_k8s::Kind;

/// Entries of a list, unless a rule says otherwise.
const MAX_ITEMS: u32 = 256;
/// Entries of a map.
const MAX_PROPERTIES: u32 = 128;
/// Characters of a text, unless a rule says otherwise.
const MAX_LENGTH: u32 = 2_048;
/// Rules of a VirtualService; generated ones have hundreds.
const MAX_RULES: u32 = 1_024;
/// Characters of a fixed answer.
const MAX_BODY: u32 = 65_536;
/// Characters of a duration; the cost of judging one follows from it.
const MAX_DURATION: u32 = 32;

/// Fields that are durations, by name.
const DURATIONS: [&str; 4] = ["timeout", "perTryTimeout", "backoff", "connectTimeout"];

/// Adds rules and caps to the schema of a spec.
pub(super) fn add(kind: Kind, spec: &mut Value) {
    cap(spec);
    match kind {
        Kind::VirtualService => virtual_service(spec),
        Kind::DestinationRule => destination_rule(spec),
        _ => {}
    }
}

/// Caps whatever has none, and gives durations their rule.
fn cap(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    let limit = match fields.get("type").and_then(Value::as_str) {
        Some("array") => Some(("maxItems", MAX_ITEMS)),
        Some("string") if !fields.contains_key("enum") => Some(("maxLength", MAX_LENGTH)),
        Some("object") if fields.contains_key("additionalProperties") => {
            Some(("maxProperties", MAX_PROPERTIES))
        }
        _ => None,
    };
    if let Some((word, most)) = limit {
        fields.entry(word).or_insert(json!(most));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(inner) {
            cap(inner);
        }
    }
    let Some(Value::Object(properties)) = fields.get_mut("properties") else {
        return;
    };
    for (name, inner) in properties {
        if DURATIONS.contains(&name.as_str()) && inner["type"] == "string" {
            inner["maxLength"] = json!(MAX_DURATION);
            rule(
                inner,
                "duration(self) >= duration('1ms')",
                "must be a valid duration of at least 1ms, as in 500ms, 2s or 1m30s",
            );
        }
        cap(inner);
    }
}

fn virtual_service(spec: &mut Value) {
    set(spec, &["http"], "maxItems", json!(MAX_RULES));
    let rule_path = ["http", "[]"];
    if let Some(http) = at(spec, &rule_path) {
        rule(
            http,
            "[has(self.route), has(self.redirect), has(self.directResponse)].filter(there, there).size() <= 1",
            "a rule has only one of route, redirect and directResponse",
        );
        rule(
            http,
            "!(has(self.redirect) && has(self.rewrite))",
            "redirect and rewrite exclude each other",
        );
        for field in ["uri", "scheme", "method", "authority"] {
            one_comparison(at(http, &["match", "[]", field]));
        }
        for field in ["headers", "withoutHeaders", "queryParams"] {
            one_comparison(at(http, &["match", "[]", field, "{}"]));
        }
        for port in [
            &["match", "[]", "port"][..],
            &["redirect", "port"],
            &["route", "[]", "destination", "port", "number"],
        ] {
            range(at(http, port), 1, 65_535);
        }
        range(at(http, &["route", "[]", "weight"]), 0, 1_000_000);
        range(at(http, &["retries", "attempts"]), 0, i64::from(i32::MAX));
        range(at(http, &["directResponse", "status"]), 200, 599);
        set(
            http,
            &["directResponse", "body", "string"],
            "maxLength",
            json!(MAX_BODY),
        );
        set(
            http,
            &["directResponse", "body", "bytes"],
            "maxLength",
            json!(MAX_BODY),
        );
        set(
            http,
            &["redirect", "redirectCode"],
            "enum",
            json!([301, 302, 303, 307, 308]),
        );
        set(
            http,
            &["redirect", "derivePort"],
            "enum",
            json!(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
        );
        set(http, &["directResponse"], "required", json!(["status"]));
        set(http, &["route", "[]"], "required", json!(["destination"]));
        set(
            http,
            &["route", "[]", "destination"],
            "required",
            json!(["host"]),
        );
        set(
            http,
            &["route", "[]", "destination", "host"],
            "minLength",
            json!(1),
        );
        if let Some(rewrite) = at(http, &["rewrite"]) {
            rule(
                rewrite,
                "!(has(self.uri) && has(self.uriRegexRewrite))",
                "uri and uriRegexRewrite exclude each other",
            );
        }
        if let Some(redirect) = at(http, &["redirect"]) {
            rule(
                redirect,
                "!(has(self.port) && has(self.derivePort))",
                "port and derivePort exclude each other",
            );
            rule(
                redirect,
                "!(has(self.uri) && has(self.prefixRewrite))",
                "uri and prefixRewrite exclude each other",
            );
        }
    }
}

fn destination_rule(spec: &mut Value) {
    spec["required"] = json!(["host"]);
    set(spec, &["host"], "minLength", json!(1));
    set(spec, &["subsets", "[]"], "required", json!(["name"]));
    set(spec, &["subsets", "[]", "name"], "minLength", json!(1));
    let words = [
        "UNSPECIFIED",
        "LEAST_CONN",
        "RANDOM",
        "PASSTHROUGH",
        "ROUND_ROBIN",
        "LEAST_REQUEST",
    ];
    for policy in [&["trafficPolicy"][..], &["subsets", "[]", "trafficPolicy"]] {
        let path = [policy, &["loadBalancer", "simple"]].concat();
        set(spec, &path, "enum", json!(words));
    }
}

/// A text is compared in one way; Istio's definition says it in the same words.
fn one_comparison(schema: Option<&mut Value>) {
    let Some(schema) = schema else {
        return;
    };
    let only: Vec<Value> = ["exact", "prefix", "regex"]
        .iter()
        .map(|word| json!({"required": [word]}))
        .collect();
    let mut choices = vec![json!({"not": {"anyOf": only}})];
    choices.extend(only);
    schema["oneOf"] = json!(choices);
}

fn range(schema: Option<&mut Value>, least: i64, most: i64) {
    if let Some(schema) = schema {
        schema["minimum"] = json!(least);
        schema["maximum"] = json!(most);
    }
}

/// Adds a rule in CEL.
fn rule(schema: &mut Value, cel: &str, message: &str) {
    let Value::Object(fields) = schema else {
        return;
    };
    let rules = fields
        .entry("x-kubernetes-validations")
        .or_insert_with(|| json!([]));
    if let Value::Array(rules) = rules {
        rules.push(json!({"rule": cel, "message": message}));
    }
}

fn set(schema: &mut Value, path: &[&str], word: &str, value: Value) {
    if let Some(Value::Object(fields)) = at(schema, path) {
        let fields: &mut Map<String, Value> = fields;
        fields.insert(word.to_owned(), value);
    }
}

/// The schema of a field; `[]` is a list's entry, `{}` a map's.
fn at<'a>(schema: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(schema, |schema, step| match *step {
        "[]" => schema.get_mut("items"),
        "{}" => schema.get_mut("additionalProperties"),
        field => schema.get_mut("properties")?.get_mut(field),
    })
}

#[cfg(test)]
mod tests {
    use weft_k8s::schema::{self, Schema};

    use super::*;
    use crate::cluster::crds::structural;

    /// Every list, map and text below.
    fn uncapped(schema: &Value, path: &str, found: &mut Vec<String>) {
        let limit = match schema["type"].as_str() {
            Some("array") => "maxItems",
            Some("string") if schema.get("enum").is_none() => "maxLength",
            Some("object") if schema.get("additionalProperties").is_some() => "maxProperties",
            _ => "type",
        };
        if schema.get(limit).is_none() {
            found.push(format!("{path}: {limit}"));
        }
        for (word, inner) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let Some(part) = schema.get(word) {
                uncapped(part, &format!("{path}{inner}"), found);
            }
        }
        for (name, part) in schema["properties"].as_object().into_iter().flatten() {
            uncapped(part, &format!("{path}.{name}"), found);
        }
    }

    #[test]
    fn every_list_map_and_text_has_an_end_and_every_field_a_description() {
        for kind in [Kind::VirtualService, Kind::DestinationRule] {
            let Schema(spec) = schema::spec(kind).unwrap();
            let mut spec = structural(spec);
            add(kind, &mut spec);
            let mut found = Vec::new();
            uncapped(&spec, "spec", &mut found);
            assert!(found.is_empty(), "{found:?}");
            undescribed(&spec, "spec", &mut found);
            assert!(found.is_empty(), "{found:?}");
        }
    }

    fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (name, part) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            // "Name." says nothing that the field's name does not.
            if part["description"]
                .as_str()
                .is_none_or(|text| text.split_whitespace().count() < 3)
            {
                found.push(path.clone());
            }
            undescribed(part, &path, found);
            undescribed(&part["items"], &path, found);
        }
    }

    #[test]
    fn rules_stand_where_they_should() {
        let Schema(spec) = schema::spec(Kind::VirtualService).unwrap();
        let mut spec = structural(spec);
        add(Kind::VirtualService, &mut spec);
        let timeout = at(&mut spec, &["http", "[]", "timeout"]).unwrap();
        assert_eq!(timeout["maxLength"], MAX_DURATION);
        assert!(
            timeout["x-kubernetes-validations"][0]["message"]
                .as_str()
                .unwrap()
                .contains("500ms")
        );
        assert!(
            at(&mut spec, &["http", "[]", "match", "[]", "headers", "{}"])
                .unwrap()
                .get("oneOf")
                .is_some()
        );
        let http = at(&mut spec, &["http", "[]"]).unwrap();
        assert_eq!(
            http["x-kubernetes-validations"].as_array().unwrap().len(),
            2
        );
    }
}
