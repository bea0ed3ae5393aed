//! Objects that are written: where one is in the API, and what applying or deleting it has changed.

use std::fmt;

use anyhow::{Context, bail};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use super::{reason, text};

/// Field manager of what this program applies.
const MANAGER: &str = "weft";

/// Where an object is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    resource: ApiResource,
    namespace: Option<String>,
    /// Its name.
    pub(crate) name: String,
}

/// What applying has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is new.
    Created,
    /// It was different.
    Configured,
    /// It was so already.
    Unchanged,
}

impl Applied {
    /// kubectl's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

impl fmt::Display for Address {
    /// As kubectl writes it: `deployment.apps/weft-operator`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.resource.kind.to_ascii_lowercase();
        match self.resource.group.as_str() {
            "" => write!(f, "{kind}/{}", self.name),
            group => write!(f, "{kind}.{group}/{}", self.name),
        }
    }
}

impl Address {
    /// Where this object belongs.
    ///
    /// # Errors
    /// It has no version, kind or name.
    pub(crate) fn of(object: &Value) -> anyhow::Result<Self> {
        let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let name = text(object, "/metadata/name").to_owned();
        if version.is_empty() || kind.is_empty() || name.is_empty() {
            bail!("an object lacks apiVersion, kind or metadata.name: {object}");
        }
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let namespace = text(object, "/metadata/namespace");
        Ok(Self {
            resource: ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name,
        })
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    /// The object as it is.
    pub(crate) async fn find(&self, client: &Client) -> anyhow::Result<Option<DynamicObject>> {
        match self.api(client).get_opt(&self.name).await {
            Ok(found) => Ok(found),
            Err(error) => bail!("{self}: {}", reason(&error)),
        }
    }

    /// Server-side apply. What the installation says counts, whoever has changed it since.
    pub(crate) async fn apply(&self, client: &Client, object: &Value) -> anyhow::Result<Applied> {
        let before = self.find(client).await?;
        let parameters = PatchParams::apply(MANAGER).force();
        let (api, patch) = (self.api(client), Patch::Apply(object));
        let after = match api.patch(&self.name, &parameters, &patch).await {
            Ok(after) => after,
            Err(error) => bail!("{self}: {}", reason(&error)),
        };
        Ok(match before {
            None => Applied::Created,
            Some(before) if before.metadata.resource_version == after.metadata.resource_version => {
                Applied::Unchanged
            }
            Some(_) => Applied::Configured,
        })
    }

    /// Changes some places of it (RFC 6902).
    pub(crate) async fn change(&self, client: &Client, operations: Value) -> anyhow::Result<()> {
        let operations = serde_json::from_value(operations).context("a patch of our own")?;
        let patch: Patch<Value> = Patch::Json(operations);
        let changed = self
            .api(client)
            .patch(&self.name, &PatchParams::default(), &patch)
            .await;
        match changed {
            Ok(_) => Ok(()),
            Err(error) => bail!("{self}: {}", reason(&error)),
        }
    }

    /// Deletes it, what it owns first; whether it was there. Returns at once: see [`Address::find`].
    pub(crate) async fn delete(&self, client: &Client) -> anyhow::Result<bool> {
        let deleted = self
            .api(client)
            .delete(&self.name, &DeleteParams::foreground())
            .await;
        match deleted {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => bail!("{self}: {}", reason(&error)),
        }
    }
}
