//! How routes point at other objects: at their parents, at weighted destinations, at who gets copies. Defaults are the API
//! server's.

use serde::{Deserialize, Serialize};

use crate::gateway::Filter;

/// What a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentRef {
    /// Group; a Service's is empty and has to be written.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; the route's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Section; tells two references to one Service apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Port of the Service; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Default for ParentRef {
    fn default() -> Self {
        Self {
            group: "gateway.networking.k8s.io".to_owned(),
            kind: "Gateway".to_owned(),
            namespace: None,
            name: String::new(),
            section_name: None,
            port: None,
        }
    }
}

impl ParentRef {
    /// Whether it is a Service.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}

/// An object that a filter sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; the route's own when absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Port; a Service needs one.
    pub port: Option<u16>,
}

impl Default for ObjectRef {
    fn default() -> Self {
        Self {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: None,
            name: String::new(),
            port: None,
        }
    }
}

/// One weighted destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendRef {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; the route's own when absent.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Port; a Service needs one.
    pub port: Option<u16>,
    /// Share of the traffic.
    pub weight: u32,
    /// Changes for this destination only.
    pub filters: Vec<Filter>,
}

impl Default for BackendRef {
    fn default() -> Self {
        Self {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: None,
            name: String::new(),
            port: None,
            weight: 1,
            filters: Vec::new(),
        }
    }
}

impl BackendRef {
    /// The object alone.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
}
