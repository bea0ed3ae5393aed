//! Objects as the API server gives them: one JSON value whose kind is known from where it was asked for.
//!
//! They go the way that files go, so that an object means the same wherever it is kept and what is wrong with it reads
//! the same. There are no lines here: findings name object and field.

use serde_json::Value as Json;

use crate::kinds::{Kind, Object};
use crate::located::{Located, Place};
use crate::node::{Node, Value};
use crate::parse::{self, ParseError};

/// Reads one object of this kind.
///
/// # Errors
/// When a field that we read has a value that we cannot; the error names object and field.
pub fn parse_object(kind: Kind, object: &Json) -> Result<Located<Object>, ParseError> {
    let node = node(object);
    let (value, unread) = kind.decode(&node).map_err(|error| ParseError {
        place: Place::default(),
        kind: kind.name().to_owned(),
        name: parse::shown_name(&node),
        field: error.path,
        message: error.message,
    })?;
    let mut located = Located::new(value, Place::default());
    if kind.keeps_lines() {
        located.unread = unread.into_iter().filter(parse::is_users).collect();
    }
    Ok(located)
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::Uint(value),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), node(value)));
            Value::Map(fields.collect())
        }
    };
    Node { line: 0, value }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_the_api_server_is_read_and_its_unread_fields_are_named() {
        let object = json!({
            "metadata": {
                "name": "reviews", "namespace": "shop", "uid": "u", "generation": 7, "resourceVersion": "12",
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"hosts": ["reviews"], "http": [{"delegate": {"name": "other"}, "route": [{"destination": {"host": "reviews"}}]}]},
            "status": {"conditions": []},
        });
        let located = parse_object(Kind::VirtualService, &object).unwrap();
        let Object::VirtualService(value) = &located.value else {
            panic!("{located:?}");
        };
        assert_eq!(value.metadata.generation, 7);
        assert_eq!(value.spec.hosts, ["reviews"]);
        let unread: Vec<&str> = located
            .unread
            .iter()
            .map(|field| field.path.as_str())
            .collect();
        assert_eq!(unread, ["spec.http[0].delegate"]);
    }

    #[test]
    fn a_malformed_object_is_named_with_its_field() {
        let object = json!({
            "metadata": {"name": "reviews", "namespace": "shop"},
            "spec": {"hosts": "reviews"},
        });
        let error = parse_object(Kind::VirtualService, &object).unwrap_err();
        assert_eq!(
            (
                error.kind.as_str(),
                error.name.as_str(),
                error.field.as_str()
            ),
            ("VirtualService", "shop/reviews", "spec.hosts")
        );
        let error = parse_object(Kind::Pod, &json!({"metadata": {}})).unwrap_err();
        assert_eq!(error.field, "metadata.name");
        assert!(parse_object(Kind::Service, &json!("no object")).is_err());
    }
}
