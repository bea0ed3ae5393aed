//! Where an object was written, so that every finding can name file and line.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::kinds::Kind;
use crate::meta::Name;

/// A position in a manifest. Ordered: of two objects with one name the greater place wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Rank of the directory the file is from; a later one overrides an earlier one without a finding.
    pub layer: u16,
    /// File as the user named it; empty when the object did not come from a file.
    pub file: Arc<str>,
    /// Line, counted from 1; 0 when not known.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A field that the manifest has and our types do not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unread {
    /// Path, as in `spec.http[0].fault`.
    pub path: String,
    /// Its line.
    pub line: u32,
}

/// A value with its place. `unread` and the lines of fields are kept for the policy kinds only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located<T> {
    /// Where the document begins.
    pub place: Place,
    /// The value.
    pub value: T,
    /// Fields that were not read, in the order of the file.
    pub unread: Arc<[Unread]>,
    /// Shared: a snapshot is put together again on every change.
    pub(crate) lines: Arc<BTreeMap<String, u32>>,
}

impl<T> Located<T> {
    /// A value at a place, without the lines of its fields.
    pub fn new(value: T, place: Place) -> Self {
        Self {
            place,
            value,
            unread: Arc::default(),
            lines: Arc::default(),
        }
    }

    /// The same, as part of a later directory (see `Place::layer`).
    #[must_use]
    pub fn in_layer(mut self, layer: u16) -> Self {
        self.place.layer = layer;
        self
    }

    /// Line of the field, else of its nearest enclosing field, else of the object.
    #[must_use]
    pub fn line_of(&self, path: &str) -> u32 {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = path.get(..cut).unwrap_or_default(),
                None => return self.place.line,
            }
        }
    }

    /// The same place around another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            place: self.place,
            value: change(self.value),
            unread: self.unread,
            lines: self.lines,
        }
    }
}

/// An object that was written twice in one layer; the one that lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duplicate {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: Name,
    /// Where the object that is not used was written.
    pub dropped: Place,
}
