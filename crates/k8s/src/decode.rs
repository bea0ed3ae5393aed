//! Node → typed value, with the path and line of what is wrong and the list of fields that no type reads.
//!
//! serde asks to skip exactly the fields that a struct does not have; that is where `unread` comes from.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use crate::located::Unread;
use crate::node::{Node, Value, join};

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) path: String,
    pub(crate) line: u32,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn at(path: &str, message: &str) -> Self {
        Self {
            path: path.to_owned(),
            line: 0,
            message: message.to_owned(),
        }
    }

    /// Adds the place unless an inner field was named already.
    fn located(mut self, path: &str, line: u32) -> Self {
        if self.path.is_empty() {
            self.path = path.to_owned();
        }
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for FieldError {}

impl de::Error for FieldError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: String::new(),
            line: 0,
            message: message.to_string(),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!(
            "must be {}, found {}",
            people(expected),
            unexpected(&found)
        ))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// serde names integer types as Rust does; users know their ranges.
fn people(expected: &dyn de::Expected) -> String {
    match expected.to_string().as_str() {
        "u8" => "a number from 0 to 255".to_owned(),
        "u16" => "a number from 0 to 65535".to_owned(),
        "u32" | "u64" => "a number that is not negative".to_owned(),
        other => other.to_owned(),
    }
}

fn unexpected(found: &de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Bool(value) => value.to_string(),
        de::Unexpected::Unsigned(value) => format!("the number {value}"),
        de::Unexpected::Signed(value) => format!("the number {value}"),
        de::Unexpected::Float(value) => format!("the number {value}"),
        de::Unexpected::Str(text) => format!("the text \"{text}\""),
        de::Unexpected::Seq => "a list".to_owned(),
        de::Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// Decodes a document.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node) -> Result<(T, Vec<Unread>), FieldError> {
    let unread = RefCell::new(Vec::new());
    let value = T::deserialize(Decoder {
        node,
        path: String::new(),
        unread: &unread,
    })?;
    Ok((value, unread.into_inner()))
}

const YES: [&str; 6] = ["yes", "Yes", "YES", "on", "On", "ON"];
const NO: [&str; 6] = ["no", "No", "NO", "off", "Off", "OFF"];

struct Decoder<'a> {
    node: &'a Node,
    path: String,
    unread: &'a RefCell<Vec<Unread>>,
}

impl<'a> Decoder<'a> {
    fn child(&self, node: &'a Node, path: String) -> Self {
        Self {
            node,
            path,
            unread: self.unread,
        }
    }

    fn run<T>(self, read: impl FnOnce(Self) -> Result<T, FieldError>) -> Result<T, FieldError> {
        let (path, line) = (self.path.clone(), self.node.line);
        read(self).map_err(|error| error.located(&path, line))
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Uint(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => visitor.visit_seq(Items {
                decoder: &self,
                items: items.iter().enumerate(),
            }),
            Value::Map(entries) => visitor.visit_map(Entries::new(&self, entries)),
        }
    }
}

/// How a value is called in a message.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Int(value) => format!("the number {value}"),
        Value::Uint(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::Text(value) => format!("the text \"{value}\""),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

fn wanted(what: &str, value: &Value) -> FieldError {
    let hint = match (what, value) {
        ("text", Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Bool(_)) => {
            "; put it in quotes"
        }
        ("a whole number" | "true or false", Value::Text(_)) => "; write it without quotes",
        ("a list", _) => "; begin each item with \"- \"",
        ("a mapping", _) => "; write \"key: value\" lines below it, indented",
        _ => "",
    };
    de::Error::custom(format!("must be {what}, found {}{hint}", describe(value)))
}

macro_rules! whole_numbers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            self.run(|decoder| match &decoder.node.value {
                Value::Int(_) | Value::Uint(_) => decoder.visit(visitor),
                other => Err(wanted("a whole number", other)),
            })
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Decoder<'_> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.run(|decoder| decoder.visit(visitor))
    }

    whole_numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.run(|decoder| match &decoder.node.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            // YAML 1.1's words, which kubectl still takes where a truth value is asked for, and only there.
            Value::Text(word) if YES.contains(&word.as_str()) => visitor.visit_bool(true),
            Value::Text(word) if NO.contains(&word.as_str()) => visitor.visit_bool(false),
            other => Err(wanted("true or false", other)),
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.run(|decoder| match &decoder.node.value {
            Value::Text(value) => visitor.visit_str(value),
            // As Kubernetes reads it: a label without a value is the empty text.
            Value::Null => visitor.visit_str(""),
            other => Err(wanted("text", other)),
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        if matches!(self.node.value, Value::Null) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.run(|decoder| match &decoder.node.value {
            Value::List(_) => decoder.visit(visitor),
            Value::Null => visitor.visit_seq(Items {
                decoder: &decoder,
                items: [].iter().enumerate(),
            }),
            other => Err(wanted("a list", other)),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.run(|decoder| match &decoder.node.value {
            Value::Map(_) => decoder.visit(visitor),
            Value::Null => visitor.visit_map(Entries::new(&decoder, &[])),
            other => Err(wanted("a mapping", other)),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        self.run(|decoder| match &decoder.node.value {
            // A field without a value is an absent field, as in Kubernetes.
            Value::Map(entries) => visitor.visit_map(Entries {
                skip_null: true,
                ..Entries::new(&decoder, entries)
            }),
            Value::Null => visitor.visit_map(Entries::new(&decoder, &[])),
            other => Err(wanted("a mapping", other)),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.unread.borrow_mut().push(Unread {
            path: self.path,
            line: self.node.line,
        });
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'a> {
    decoder: &'a Decoder<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FieldError> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(
            self.decoder
                .child(node, format!("{}[{index}]", self.decoder.path)),
        )
        .map(Some)
    }
}

struct Entries<'a> {
    decoder: &'a Decoder<'a>,
    entries: std::slice::Iter<'a, (String, Node)>,
    current: Option<&'a (String, Node)>,
    skip_null: bool,
}

impl<'a> Entries<'a> {
    fn new(decoder: &'a Decoder<'a>, entries: &'a [(String, Node)]) -> Self {
        Self {
            decoder,
            entries: entries.iter(),
            current: None,
            skip_null: false,
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FieldError> {
        let skip_null = self.skip_null;
        self.current = self
            .entries
            .find(|(_, node)| !(skip_null && matches!(node.value, Value::Null)));
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, FieldError> {
        let Some((key, node)) = self.current.take() else {
            return Err(de::Error::custom("value without a key"));
        };
        let path = join(&self.decoder.path, key);
        // A second locating catches errors that the type itself makes after the value was read.
        seed.deserialize(self.decoder.child(node, path.clone()))
            .map_err(|error| error.located(&path, node.line))
    }
}
