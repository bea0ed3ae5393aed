//! `exportTo`: which namespaces see a policy object. What cannot be read shows it to fewer, never to more.

use std::collections::BTreeSet;

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};

/// Who sees an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// Every namespace.
    Public,
    /// These.
    Namespaces(BTreeSet<String>),
}

impl Visibility {
    /// Reads `exportTo` of an object in `namespace`; what cannot be read hides the object from everyone else.
    pub(crate) fn read(list: &[String], namespace: &str) -> Self {
        if list.is_empty() || list.iter().any(|item| item == "*") {
            return Self::Public;
        }
        let named = list.iter().filter(|item| *item != "~");
        Self::Namespaces(
            named
                .map(|item| {
                    if item == "." {
                        namespace.to_owned()
                    } else {
                        item.clone()
                    }
                })
                .collect(),
        )
    }

    /// Whether clients of the namespace see it.
    pub(crate) fn includes(&self, namespace: Option<&str>) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(set) => namespace.is_some_and(|namespace| set.contains(namespace)),
        }
    }

    /// Namespaces that see it while others do not.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        let set = match self {
            Self::Public => None,
            Self::Namespaces(set) => Some(set),
        };
        set.into_iter().flatten().map(String::as_str)
    }

    /// Whether some namespace sees both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, Self::Public) => true,
            (Self::Public, Self::Namespaces(set)) | (Self::Namespaces(set), Self::Public) => {
                !set.is_empty()
            }
            (Self::Namespaces(one), Self::Namespaces(two)) => !one.is_disjoint(two),
        }
    }
}

/// Findings about `exportTo`.
pub(crate) fn lint(list: &[String], subject: Subject<'_>, findings: &mut Findings) {
    for (index, item) in list.iter().enumerate() {
        let alone = matches!(item.as_str(), "*" | "." | "~") && list.len() > 1;
        let plain = item
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let message = match item.as_str() {
            "*" | "." | "~" if alone => {
                format!("\"{item}\" stands beside other entries; leave it alone")
            }
            "*" | "." | "~" => continue,
            "" => "an empty entry; write a namespace, . or *".to_owned(),
            _ if plain => continue,
            _ => format!("\"{item}\" is no namespace; write a namespace, . or *"),
        };
        findings.add(
            Code::InvalidExport,
            subject,
            &format!("spec.exportTo[{index}]"),
            message,
        );
    }
}
