//! What the watches have told so far: one snapshot of all kinds, and what is wrong with objects. No client and no clock here, so that every order of events can be tested.
//!
//! Nothing is given away before every kind has been listed once. A malformed object is skipped and named; what it said
//! before it was broken stays in force, as with files.

use std::collections::{BTreeMap, BTreeSet};

use weft_k8s::{Kind, Located, Name, Object, ParseError, Snapshot};

use crate::cluster::writer::Carried;
use crate::source::{Manifests, Observed, Reference};

/// One object as a watch read it.
#[derive(Debug)]
pub(super) struct Read {
    /// Its name.
    pub(super) name: Name,
    /// What it says, or why that cannot be read.
    pub(super) object: Result<Located<Object>, ParseError>,
    /// Who it is and which conditions it carries; only for kinds that get some.
    pub(super) observed: Option<Observed>,
}

/// News of one kind.
#[derive(Debug)]
pub(super) enum Update {
    /// These are all objects of the kind.
    All(Vec<Read>),
    /// One was made or changed.
    Put(Box<Read>),
    /// One has gone.
    Gone(Name),
}

/// Everything known.
#[derive(Debug)]
pub(super) struct Cache {
    snapshot: Snapshot,
    errors: BTreeMap<Reference, ParseError>,
    carried: Carried,
    /// Kinds that have not been listed yet.
    waiting: BTreeSet<Kind>,
}

impl Cache {
    /// Nothing yet, of these kinds.
    pub(super) fn new(kinds: impl IntoIterator<Item = Kind>, carried: Carried) -> Self {
        Self {
            snapshot: Snapshot::default(),
            errors: BTreeMap::new(),
            carried,
            waiting: kinds.into_iter().collect(),
        }
    }

    /// Kinds that have not been listed yet.
    pub(super) fn waiting(&self) -> &BTreeSet<Kind> {
        &self.waiting
    }

    /// Takes news; tells whether anything is different now.
    pub(super) fn take(&mut self, kind: Kind, update: Update) -> bool {
        match update {
            Update::Put(read) => self.put(kind, *read),
            Update::Gone(name) => self.remove(kind, &name),
            Update::All(reads) => {
                let mut different = self.waiting.remove(&kind);
                let now: BTreeSet<Name> = reads.iter().map(|read| read.name.clone()).collect();
                let broken = self.errors.keys().filter(|of| of.kind == kind);
                let mut before = self.snapshot.names(kind);
                before.extend(broken.map(|of| of.name.clone()));
                for name in before.iter().filter(|name| !now.contains(name)) {
                    different |= self.remove(kind, name);
                }
                for read in reads {
                    different |= self.put(kind, read);
                }
                different
            }
        }
    }

    /// All of it, as the pipeline takes it; `None` before every kind has been listed.
    pub(super) fn manifests(&self) -> Option<Manifests> {
        if !self.waiting.is_empty() {
            return None;
        }
        let counts = Kind::ALL.iter();
        Some(Manifests {
            snapshot: self.snapshot.clone(),
            errors: self.errors.values().cloned().collect(),
            objects: counts
                .map(|kind| (*kind, self.snapshot.count(*kind)))
                .collect(),
            files: BTreeMap::new(),
        })
    }

    fn put(&mut self, kind: Kind, read: Read) -> bool {
        let of = Reference {
            kind,
            name: read.name,
        };
        if let Some(observed) = read.observed {
            self.carried.put(of.clone(), observed);
        }
        let mut different = false;
        match read.object {
            Ok(object) => {
                different |= self.errors.remove(&of).is_some();
                different |= self.snapshot.update(object);
            }
            Err(error) => {
                if self.errors.get(&of) != Some(&error) {
                    self.errors.insert(of, error);
                    different = true;
                }
            }
        }
        different
    }

    fn remove(&mut self, kind: Kind, name: &Name) -> bool {
        let of = Reference {
            kind,
            name: name.clone(),
        };
        self.carried.remove(&of);
        let error = self.errors.remove(&of).is_some();
        let there = self.snapshot.contains(kind, name);
        self.snapshot.remove(kind, name);
        error || there
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use weft_k8s::parse_object;

    use super::*;

    fn read(name: &str, host: serde_json::Value) -> Read {
        let object =
            json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"host": host}});
        Read {
            name: Name::new("shop", name),
            object: parse_object(Kind::DestinationRule, &object),
            observed: None,
        }
    }

    fn cache() -> Cache {
        let mut cache = Cache::new([Kind::DestinationRule, Kind::Service], Carried::default());
        assert!(cache.take(
            Kind::DestinationRule,
            Update::All(vec![read("a", "a".into())])
        ));
        assert!(cache.manifests().is_none(), "services have not been listed");
        assert!(cache.take(Kind::Service, Update::All(Vec::new())));
        cache
    }

    #[test]
    fn nothing_is_given_before_every_kind_was_listed() {
        let cache = cache();
        let manifests = cache.manifests().unwrap();
        assert_eq!(manifests.objects.get(&Kind::DestinationRule), Some(&1));
    }

    #[test]
    fn an_object_that_says_the_same_changes_nothing_and_stays_the_same_pointer() {
        let mut cache = cache();
        let pointer = |cache: &Cache| {
            let rules = &cache.snapshot.destination_rules;
            Arc::as_ptr(&rules.get(&Name::new("shop", "a")).unwrap().value)
        };
        let before = pointer(&cache);
        assert!(!cache.take(
            Kind::DestinationRule,
            Update::Put(Box::new(read("a", "a".into())))
        ));
        assert!(!cache.take(
            Kind::DestinationRule,
            Update::All(vec![read("a", "a".into())])
        ));
        assert_eq!(pointer(&cache), before);
        assert!(cache.take(
            Kind::DestinationRule,
            Update::Put(Box::new(read("a", "b".into())))
        ));
    }

    #[test]
    fn a_new_listing_removes_what_is_not_in_it() {
        let mut cache = cache();
        cache.take(
            Kind::DestinationRule,
            Update::Put(Box::new(read("broken", 7.into()))),
        );
        assert!(cache.take(
            Kind::DestinationRule,
            Update::All(vec![read("b", "b".into())])
        ));
        let manifests = cache.manifests().unwrap();
        assert!(manifests.errors.is_empty(), "{:?}", manifests.errors);
        let names = manifests.snapshot.names(Kind::DestinationRule);
        assert_eq!(names, [Name::new("shop", "b")]);
        assert!(!cache.take(Kind::DestinationRule, Update::Gone(Name::new("shop", "a"))));
    }

    #[test]
    fn a_broken_object_keeps_what_it_said_and_is_named() {
        let mut cache = cache();
        assert!(cache.take(
            Kind::DestinationRule,
            Update::Put(Box::new(read("a", json!([]))))
        ));
        assert!(!cache.take(
            Kind::DestinationRule,
            Update::Put(Box::new(read("a", json!([]))))
        ));
        let manifests = cache.manifests().unwrap();
        assert_eq!(manifests.errors[0].name, "shop/a");
        assert_eq!(manifests.snapshot.destination_rules.len(), 1);
        assert!(cache.take(
            Kind::DestinationRule,
            Update::Put(Box::new(read("a", "a".into())))
        ));
        assert!(cache.manifests().unwrap().errors.is_empty());
    }
}
