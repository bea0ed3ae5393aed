//! File text → objects and errors. The only way in.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::decode::FieldError;
use crate::document::{Document, split};
use crate::kinds::{Kind, Object};
use crate::located::{Located, Place, Unread};
use crate::node::{Node, Value};

/// Largest file that is read; a larger one is refused whole.
pub const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;
/// Deepest nesting of a document; protects the stack.
const MAX_DEPTH: usize = 64;
/// Most values in a document.
const MAX_NODES: usize = 500_000;

/// Why a document was not read: file, line, object and field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParseError {
    /// File and line.
    pub place: Place,
    /// The object's kind as it is written; empty when the document could not be read so far.
    pub kind: String,
    /// The object's name, `namespace/name`; empty when not known.
    pub name: String,
    /// Path of the field; empty when it is about the whole document.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.kind.is_empty() {
            write!(f, "{} {}: ", self.kind, self.name)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads every document of a YAML or JSON file. `file` is the name that findings show.
#[must_use]
pub fn parse_file(file: &str, text: &str) -> (Vec<Located<Object>>, Vec<ParseError>) {
    let mut reader = Reader {
        file: Arc::from(file),
        objects: Vec::new(),
        errors: Vec::new(),
    };
    if text.len() > MAX_FILE_BYTES {
        let size = format!(
            "the file has {} bytes, more than {MAX_FILE_BYTES}; split it",
            text.len()
        );
        reader.fail(0, "", "", FieldError::at("", &size));
    } else {
        split(text)
            .iter()
            .for_each(|document| reader.document(document));
    }
    (reader.objects, reader.errors)
}

/// An object's JSON with `apiVersion` and `kind` in front.
pub(crate) fn document(kind: Kind, mut value: serde_json::Value) -> String {
    if let (Some(map), false) = (value.as_object_mut(), kind == Kind::Other) {
        let version = kind.versions().first().copied().unwrap_or("v1");
        let group = kind.group();
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        map.insert("apiVersion".to_owned(), api_version.into());
        map.insert("kind".to_owned(), kind.name().into());
    }
    value.to_string()
}

struct Reader {
    file: Arc<str>,
    objects: Vec<Located<Object>>,
    errors: Vec<ParseError>,
}

impl Reader {
    fn document(&mut self, document: &Document<'_>) {
        let options = serde_saphyr::options! {
            with_snippet: false,
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES },
        };
        match serde_saphyr::from_str_with_options::<Node>(document.text, options) {
            Ok(node) => self.item(&node, document.lines_before),
            Err(error) => {
                let line = error
                    .location()
                    .and_then(|location| u32::try_from(location.line()).ok())
                    .unwrap_or(1);
                let message = format!("this is not YAML: {}", first_line(&error.to_string()));
                self.fail(
                    document.lines_before.saturating_add(line),
                    "",
                    "",
                    FieldError::at("", &message),
                );
            }
        }
    }

    /// Reads one object, or each item of a `List`.
    fn item(&mut self, node: &Node, lines_before: u32) {
        let Value::Map(_) = node.value else {
            let line = lines_before.saturating_add(node.line);
            let message = "a manifest begins with apiVersion and kind; this document is no mapping";
            return self.fail(line, "", "", FieldError::at("", message));
        };
        let items = node.get("items").map(|items| &items.value);
        let is_list = node
            .get("kind")
            .and_then(Node::text)
            .is_some_and(|kind| kind.ends_with("List"));
        match (is_list, items) {
            (true, Some(Value::List(items))) => {
                items.iter().for_each(|item| self.item(item, lines_before))
            }
            (true, None | Some(Value::Null)) => {}
            _ => self.object(node, lines_before),
        }
    }

    fn object(&mut self, node: &Node, lines_before: u32) {
        let line = lines_before.saturating_add(node.line);
        let text = |field: &str| node.get(field).and_then(Node::text).unwrap_or_default();
        let (api_version, word) = (text("apiVersion"), text("kind"));
        let name = shown_name(node);
        let read = kind_of(api_version, word)
            .and_then(|kind| kind.decode(node).map(|decoded| (kind, decoded)));
        let (kind, (object, unread)) = match read {
            Ok(read) => read,
            Err(error) => {
                let line = if error.line == 0 {
                    line
                } else {
                    lines_before.saturating_add(error.line)
                };
                return self.fail(line, word, &name, error);
            }
        };
        let mut located = Located::new(object, self.place(line));
        if kind.keeps_lines() {
            located.lines = Arc::new(lines(node, lines_before));
            located.unread = unread
                .into_iter()
                .filter(is_users)
                .map(|mut unread| {
                    unread.line = unread.line.saturating_add(lines_before);
                    unread
                })
                .collect();
        }
        self.objects.push(located);
    }

    fn place(&self, line: u32) -> Place {
        Place {
            layer: 0,
            file: Arc::clone(&self.file),
            line,
        }
    }

    fn fail(&mut self, line: u32, kind: &str, name: &str, error: FieldError) {
        self.errors.push(ParseError {
            place: self.place(line),
            kind: kind.to_owned(),
            name: name.to_owned(),
            field: error.path,
            message: error.message,
        });
    }
}

/// Parts of an object that the API server writes or that name it: never a finding when unread.
const ENVELOPE: [&str; 4] = ["apiVersion", "kind", "status", "metadata"];

/// Whether the field is one that a user means something by.
pub(crate) fn is_users(unread: &Unread) -> bool {
    let is_in = |field: &&str| unread.path == *field || is_below(&unread.path, field);
    !ENVELOPE.iter().any(is_in)
}

fn is_below(path: &str, field: &str) -> bool {
    path.strip_prefix(field)
        .is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// The kind, or what is wrong with `apiVersion` and `kind`.
fn kind_of(api_version: &str, word: &str) -> Result<Kind, FieldError> {
    if word.is_empty() {
        return Err(FieldError::at(
            "kind",
            "the document has no kind; add apiVersion and kind",
        ));
    }
    if api_version.is_empty() {
        return Err(FieldError::at(
            "apiVersion",
            "the document has no apiVersion; add it, as in apiVersion: v1",
        ));
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match Kind::find(group, word) {
        Some(kind) if kind.versions().contains(&version) => Ok(kind),
        Some(kind) => {
            let known = kind.versions().join(", ");
            let message = format!("{word} has no version {version}; write one of: {known}");
            Err(FieldError::at("apiVersion", &message))
        }
        None => Ok(Kind::Other),
    }
}

/// The name as far as the document tells it.
pub(crate) fn shown_name(node: &Node) -> String {
    let metadata = node.get("metadata");
    let text = |field: &str| {
        metadata
            .and_then(|metadata| metadata.get(field))
            .and_then(Node::text)
    };
    match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => "(without name)".to_owned(),
    }
}

fn lines(node: &Node, lines_before: u32) -> BTreeMap<String, u32> {
    let mut lines = BTreeMap::new();
    node.walk("", &mut |path, line| {
        lines.insert(path.to_owned(), line.saturating_add(lines_before));
    });
    lines
}

/// The library's words without its line, which counts from the document and not from the file.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.rfind(" at line ")
        .and_then(|cut| line.get(..cut))
        .unwrap_or(line)
}
