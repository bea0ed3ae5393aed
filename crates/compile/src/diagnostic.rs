//! One finding, and the set they are gathered in.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::Serialize;
use weft_k8s::{Located, Name, ParseError, Place};

use crate::code::{Code, Level};

/// One finding about one object. Ordered by place, then by field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Diagnostic {
    /// File; empty when the object did not come from one.
    pub file: Arc<str>,
    /// Line, from 1; 0 when not known.
    pub line: u32,
    /// Kind of the object.
    pub kind: String,
    /// `namespace/name`, or `name` for cluster-scoped kinds.
    pub name: String,
    /// Path of the field; empty when it is about the whole object.
    pub field: String,
    /// What kind of finding.
    pub code: Code,
    /// How grave.
    pub level: Level,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    /// `Error [WFT0101] (VirtualService shop/reviews routes.yaml:12) spec.http[0]: message`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] (", self.level, self.code)?;
        let place = Place {
            layer: 0,
            file: Arc::clone(&self.file),
            line: self.line,
        };
        let parts = [self.kind.as_str(), self.name.as_str(), &place.to_string()];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        write!(f, "{}) ", parts.join(" "))?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl From<&ParseError> for Diagnostic {
    fn from(error: &ParseError) -> Self {
        Self {
            file: Arc::clone(&error.place.file),
            line: error.place.line,
            kind: error.kind.clone(),
            name: error.name.clone(),
            field: error.field.clone(),
            code: Code::Unreadable,
            level: Code::Unreadable.level(),
            message: error.message.clone(),
        }
    }
}

/// What knows the lines of an object's fields.
pub(crate) trait Origin {
    fn place(&self) -> &Place;
    fn line_of(&self, field: &str) -> u32;
}

impl<T> Origin for Located<T> {
    fn place(&self) -> &Place {
        &self.place
    }

    fn line_of(&self, field: &str) -> u32 {
        Located::line_of(self, field)
    }
}

/// The object that findings are about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a Name,
    pub(crate) origin: &'a dyn Origin,
}

/// Findings so far. A set: passes may meet one thing from several sides.
#[derive(Default)]
pub(crate) struct Findings(BTreeSet<Diagnostic>);

impl Findings {
    /// Adds a finding about a field of an object; the empty field means the object.
    pub(crate) fn add(
        &mut self,
        code: Code,
        subject: Subject<'_>,
        field: &str,
        message: impl Into<String>,
    ) {
        self.0.insert(Diagnostic {
            file: Arc::clone(&subject.origin.place().file),
            line: if field.is_empty() {
                subject.origin.place().line
            } else {
                subject.origin.line_of(field)
            },
            kind: subject.kind.to_owned(),
            name: subject.name.to_string(),
            field: field.to_owned(),
            code,
            level: code.level(),
            message: message.into(),
        });
    }

    /// Adds findings that were made before.
    pub(crate) fn extend(&mut self, findings: &[Diagnostic]) {
        self.0.extend(findings.iter().cloned());
    }

    pub(crate) fn into_sorted(self) -> Vec<Diagnostic> {
        self.0.into_iter().collect()
    }
}
