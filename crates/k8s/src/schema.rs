//! JSON schemas of the policy kinds, from the types that read them. Only what makes CRDs needs them.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::istio;
use crate::kinds::Kind;

/// A JSON schema with everything in place (no references).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema(pub Value);

/// The schema of a kind's `spec`; `None` for kinds whose definitions are not ours to make.
#[must_use]
pub fn spec(kind: Kind) -> Option<Schema> {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let generator = settings.into_generator();
    let schema = match kind {
        Kind::VirtualService => generator.into_root_schema_for::<istio::VirtualServiceSpec>(),
        Kind::DestinationRule => generator.into_root_schema_for::<istio::DestinationRuleSpec>(),
        _ => return None,
    };
    Some(Schema(schema.to_value()))
}
