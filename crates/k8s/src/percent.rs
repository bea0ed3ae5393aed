//! Istio's `Percent`: a number from 0 to 100 that may have a fraction, kept in whole parts of a million so that it can be
//! compared and travels unchanged.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Parts of a million in one percent.
const PER_PERCENT: f64 = 10_000.0;

/// A percentage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Percent {
    /// From 0 to 100.
    pub value: PerMillion,
}

/// Parts of a million, written in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMillion(pub u32);

impl PerMillion {
    /// All.
    pub const WHOLE: Self = Self(1_000_000);
}

impl<'de> Deserialize<'de> for PerMillion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = PerMillion;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number from 0 to 100")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<PerMillion, E> {
                if !(0.0..=100.0).contains(&value) {
                    return Err(E::invalid_value(de::Unexpected::Float(value), &self));
                }
                Ok(PerMillion((value * PER_PERCENT).round() as u32))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<PerMillion, E> {
                let whole = u32::try_from(value).ok().filter(|whole| *whole <= 100);
                let whole =
                    whole.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                self.visit_f64(f64::from(whole))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<PerMillion, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for PerMillion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / PER_PERCENT)
    }
}

impl JsonSchema for PerMillion {
    fn schema_name() -> Cow<'static, str> {
        "PerMillion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "maximum": 100})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_percent_are_kept_and_nonsense_is_not() {
        for (text, parts) in [
            ("0", 0),
            ("0.1", 1_000),
            ("33.3333", 333_333),
            ("50", 500_000),
            ("100", 1_000_000),
        ] {
            let read: PerMillion = serde_json::from_str(text).unwrap();
            assert_eq!(read, PerMillion(parts), "{text}");
            let back = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<PerMillion>(&back).unwrap(), read);
        }
        for text in ["-1", "100.1", "101", "\"50\"", "1e300"] {
            assert!(serde_json::from_str::<PerMillion>(text).is_err(), "{text}");
        }
    }
}
