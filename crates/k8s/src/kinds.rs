//! The registry of kinds: one line per kind makes its variant, its decoding and its map in the snapshot.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use crate::decode::FieldError;
use crate::located::{Duplicate, Located, Place};
use crate::meta::{Metadata, Name, Other};
use crate::node::Node;
use crate::{core, gateway, istio};

/// What decoding gave: an object, and the fields that nobody read.
pub(crate) type Decoded = Result<(Object, Vec<crate::located::Unread>), FieldError>;

macro_rules! kinds {
    ($($kind:ident: $type:ty, $map:ident, $group:literal, [$($version:literal),+], $scope:ident, $lines:ident;)+) => {
        /// A kind that we type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($kind), "`.")] $kind,)+
            /// Any other kind.
            Other,
        }

        /// An object of any kind, shared so that a snapshot can be rebuilt without copies.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $(#[doc = concat!("`", stringify!($kind), "`.")] $kind(Arc<$type>),)+
            /// An object that we know by name only.
            Other(Arc<Other>),
        }

        /// All objects by kind and name: the one input of compile.
        #[derive(Clone, Debug, Default)]
        pub struct Snapshot {
            $(#[doc = concat!("Objects of kind `", stringify!($kind), "`.")]
            pub $map: BTreeMap<Name, Located<Arc<$type>>>,)+
            /// Objects of other kinds, by kind.
            pub others: BTreeMap<(String, Name), Located<Arc<Other>>>,
            /// Objects that were written twice; those that lost.
            pub duplicates: Vec<Duplicate>,
        }

        impl Kind {
            /// All kinds that we type.
            pub const ALL: &[Kind] = &[$(Kind::$kind),+];

            /// The word in `kind:`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)+
                    Self::Other => "other",
                }
            }

            /// API group; empty for the core group.
            #[must_use]
            pub fn group(self) -> &'static str {
                match self {
                    $(Self::$kind => $group,)+
                    Self::Other => "",
                }
            }

            /// Versions of the group that are read.
            #[must_use]
            pub fn versions(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => &[$($version),+],)+
                    Self::Other => &[],
                }
            }

            /// Whether its objects live in a namespace.
            #[must_use]
            pub fn is_namespaced(self) -> bool {
                match self {
                    $(Self::$kind => kinds!(@scope $scope),)+
                    Self::Other => false,
                }
            }

            /// Whether lines of fields and unread fields are kept.
            pub(crate) fn keeps_lines(self) -> bool {
                match self {
                    $(Self::$kind => kinds!(@lines $lines),)+
                    Self::Other => false,
                }
            }

            pub(crate) fn decode(self, node: &Node) -> Decoded {
                match self {
                    $(Self::$kind => {
                        let (mut value, unread) = crate::decode::decode::<$type>(node)?;
                        self.complete(&mut value.metadata)?;
                        Ok((Object::$kind(Arc::new(value)), unread))
                    })+
                    Self::Other => {
                        let (value, unread) = crate::decode::decode::<Other>(node)?;
                        Ok((Object::Other(Arc::new(value)), unread))
                    }
                }
            }
        }

        impl Object {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                    Self::Other(_) => Kind::Other,
                }
            }

            /// Its metadata.
            #[must_use]
            pub fn metadata(&self) -> &Metadata {
                match self {
                    $(Self::$kind(value) => &value.metadata,)+
                    Self::Other(value) => &value.metadata,
                }
            }

            /// The object as one JSON document that `parse_file` reads back: how the lab writes its state.
            #[must_use]
            pub fn to_json(&self) -> String {
                let (kind, value) = match self {
                    $(Self::$kind(value) => (Kind::$kind, serde_json::to_value(&**value)),)+
                    Self::Other(value) => (Kind::Other, serde_json::to_value(&**value)),
                };
                crate::parse::document(kind, value.unwrap_or_default())
            }
        }

        impl Snapshot {
            /// Adds an object. Of two with one name that of the greater place wins, in whichever order they come;
            /// within one layer the loser is listed in `duplicates`.
            pub fn insert(&mut self, object: Located<Object>) {
                let name = object.value.metadata().key();
                match object.value.clone() {
                    $(Object::$kind(value) => {
                        let dropped = put(&mut self.$map, name, object.map(|_| value));
                        self.note(Kind::$kind, dropped);
                    })+
                    Object::Other(value) => {
                        let key = (value.kind.clone(), name);
                        put(&mut self.others, key, object.map(|_| value));
                    }
                }
            }

            /// Removes an object; nothing happens when it is not there. One that lost to it does not come back: whoever
            /// reads files makes a new snapshot of them.
            pub fn remove(&mut self, kind: Kind, name: &Name) {
                match kind {
                    $(Kind::$kind => drop(self.$map.remove(name)),)+
                    Kind::Other => self.others.retain(|(_, other), _| other != name),
                }
                self.duplicates.retain(|duplicate| duplicate.kind != kind || duplicate.name != *name);
            }

            /// Puts an object in place of the one of its name, as a source does that has each object once. One that
            /// says the same is not exchanged, so that an equal pointer goes on meaning an equal object. Tells whether
            /// anything is different now.
            pub fn update(&mut self, object: Located<Object>) -> bool {
                let name = object.value.metadata().key();
                match object.value.clone() {
                    $(Object::$kind(value) => {
                        let new = object.map(|_| value);
                        let same = self.$map.get(&name).is_some_and(|old| *old == new);
                        if !same {
                            self.$map.insert(name, new);
                        }
                        !same
                    })+
                    Object::Other(_) => {
                        self.insert(object);
                        true
                    }
                }
            }

            /// Metadata of an object.
            #[must_use]
            pub fn metadata(&self, kind: Kind, name: &Name) -> Option<&Metadata> {
                match kind {
                    $(Kind::$kind => self.$map.get(name).map(|located| &located.value.metadata),)+
                    Kind::Other => None,
                }
            }

            /// Whether there is an object of this name.
            #[must_use]
            pub fn contains(&self, kind: Kind, name: &Name) -> bool {
                match kind {
                    $(Kind::$kind => self.$map.contains_key(name),)+
                    Kind::Other => self.others.keys().any(|(_, other)| other == name),
                }
            }

            /// Names of all objects of a kind.
            #[must_use]
            pub fn names(&self, kind: Kind) -> Vec<Name> {
                match kind {
                    $(Kind::$kind => self.$map.keys().cloned().collect(),)+
                    Kind::Other => self.others.keys().map(|(_, name)| name.clone()).collect(),
                }
            }

            /// Number of objects of a kind.
            #[must_use]
            pub fn count(&self, kind: Kind) -> usize {
                match kind {
                    $(Kind::$kind => self.$map.len(),)+
                    Kind::Other => self.others.len(),
                }
            }

            /// Place of an object.
            #[must_use]
            pub fn place(&self, kind: Kind, name: &Name) -> Option<&Place> {
                match kind {
                    $(Kind::$kind => self.$map.get(name).map(|located| &located.place),)+
                    Kind::Other => None,
                }
            }
        }
    };
    (@scope cluster) => { false };
    (@scope namespaced) => { true };
    (@lines lines) => { true };
    (@lines plain) => { false };
}

// kind: type, map in Snapshot, group, versions, scope, whether lines and unread fields are kept
kinds! {
    Namespace: core::Namespace, namespaces, "", ["v1"], cluster, lines;
    Node: core::Node, nodes, "", ["v1"], cluster, plain;
    ServiceAccount: core::ServiceAccount, service_accounts, "", ["v1"], namespaced, plain;
    Pod: core::Pod, pods, "", ["v1"], namespaced, plain;
    Service: core::Service, services, "", ["v1"], namespaced, lines;
    EndpointSlice: core::EndpointSlice, endpoint_slices, "discovery.k8s.io", ["v1"], namespaced, plain;
    Deployment: core::Deployment, deployments, "apps", ["v1"], namespaced, lines;
    StatefulSet: core::StatefulSet, stateful_sets, "apps", ["v1"], namespaced, lines;
    DaemonSet: core::DaemonSet, daemon_sets, "apps", ["v1"], namespaced, lines;
    NetworkPolicy: core::NetworkPolicy, network_policies, "networking.k8s.io", ["v1"], namespaced, plain;
    VirtualService: istio::VirtualService, virtual_services, "networking.istio.io", ["v1", "v1beta1", "v1alpha3"], namespaced, lines;
    DestinationRule: istio::DestinationRule, destination_rules, "networking.istio.io", ["v1", "v1beta1", "v1alpha3"], namespaced, lines;
    HTTPRoute: gateway::HTTPRoute, http_routes, "gateway.networking.k8s.io", ["v1", "v1beta1"], namespaced, lines;
    GRPCRoute: gateway::GRPCRoute, grpc_routes, "gateway.networking.k8s.io", ["v1"], namespaced, lines;
    XMesh: gateway::XMesh, meshes, "gateway.networking.x-k8s.io", ["v1alpha1"], cluster, plain;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    /// Whether it is policy, whose objects are told in their status what became of them.
    #[must_use]
    pub fn gets_conditions(self) -> bool {
        matches!(
            self,
            Self::VirtualService
                | Self::DestinationRule
                | Self::HTTPRoute
                | Self::GRPCRoute
                | Self::XMesh
        )
    }

    /// The word in the API's paths.
    #[must_use]
    pub fn plural(self) -> String {
        let word = self.name().to_ascii_lowercase();
        match word.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None if word.ends_with("sh") => format!("{word}es"),
            None => format!("{word}s"),
        }
    }

    /// The kind of this group and word, whatever the version.
    #[must_use]
    pub fn find(group: &str, word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == word && kind.group() == group)
    }

    /// Gives the namespace its default and asks for a name.
    fn complete(self, metadata: &mut Metadata) -> Result<(), FieldError> {
        if metadata.name.is_empty() {
            return Err(FieldError::at(
                "metadata.name",
                "the object has no name; add one",
            ));
        }
        if !self.is_namespaced() {
            metadata.namespace = String::new();
        } else if metadata.namespace.is_empty() {
            metadata.namespace = crate::meta::DEFAULT_NAMESPACE.to_owned();
        }
        Ok(())
    }
}

impl Snapshot {
    /// A snapshot of these objects; their order does not matter.
    pub fn from_objects(objects: impl IntoIterator<Item = Located<Object>>) -> Self {
        let mut snapshot = Self::default();
        objects
            .into_iter()
            .for_each(|object| snapshot.insert(object));
        snapshot
    }

    fn note(&mut self, kind: Kind, dropped: Option<(Name, Place)>) {
        self.duplicates
            .extend(dropped.map(|(name, dropped)| Duplicate {
                kind,
                name,
                dropped,
            }));
    }
}

/// Puts the value unless one with a greater place is there; returns the loser of the same layer.
fn put<K: Ord + Clone, T>(
    map: &mut BTreeMap<K, Located<T>>,
    key: K,
    new: Located<T>,
) -> Option<(K, Place)> {
    let mut there = match map.entry(key) {
        Entry::Vacant(free) => {
            free.insert(new);
            return None;
        }
        Entry::Occupied(there) => there,
    };
    let old = &there.get().place;
    let same_document = old.file == new.place.file && old.line == new.place.line;
    let finding = !same_document && old.layer == new.place.layer;
    let loser = if new.place >= *old {
        there.insert(new).place
    } else {
        new.place
    };
    finding.then(|| (there.key().clone(), loser))
}
