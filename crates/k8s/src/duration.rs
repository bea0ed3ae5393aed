//! Durations as Go and protobuf JSON write them: `1s`, `1.5s`, `100ms`, `1h30m`.

use std::fmt;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration that is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// Longest duration that is taken, a year: more is a slip, and sums of deadlines must not overflow.
pub const MAX_DURATION: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// Units by name with their nanoseconds; longer names first where one begins another.
const UNITS: [(&str, u128); 7] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

impl Duration {
    /// Reads a duration.
    ///
    /// # Errors
    /// A sentence that names the text and shows a right one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not a duration; write it like 5s, 1.5s, 100ms or 1h30m");
        if text.starts_with('-') {
            return Err(format!(
                "the duration \"{text}\" is negative; write 0s or more"
            ));
        }
        if text == "0" {
            return Ok(Self::default());
        }
        let (mut rest, mut nanoseconds) = (text, 0u128);
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(wrong)?;
            let (number, tail) = rest.split_at_checked(end).ok_or_else(wrong)?;
            let (unit, scale) = UNITS
                .iter()
                .find(|(unit, _)| tail.starts_with(unit))
                .ok_or_else(wrong)?;
            nanoseconds += scaled(number, *scale).ok_or_else(wrong)?;
            rest = tail.get(unit.len()..).unwrap_or_default();
        }
        let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(u64::MAX);
        let value = std::time::Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32);
        if value > MAX_DURATION {
            return Err(format!(
                "the duration \"{text}\" is longer than a year; write a shorter one, or 0s for none"
            ));
        }
        Ok(Self(value))
    }
}

/// `1.5` times a unit, exactly; `None` when the digits are not a number or too many.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    const MAX_DIGITS: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > MAX_DIGITS || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u128>().ok()
        }
    };
    let power = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits(whole)? * scale + digits(fraction)? * scale / power)
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        if nanoseconds.is_multiple_of(1_000_000_000) {
            write!(f, "{}s", self.0.as_secs())
        } else if nanoseconds.is_multiple_of(1_000_000) {
            write!(f, "{}ms", self.0.as_millis())
        } else {
            write!(f, "{nanoseconds}ns")
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, like 5s or 100ms")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Duration, E> {
                Duration::parse(value).map_err(E::custom)
            }
        }
        // Any, not str: a bare number must be told what it lacks, the unit, and not that it wants quotes.
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read_exactly() {
        let rows = [
            ("1s", 1_000),
            ("1.5s", 1_500),
            ("100ms", 100),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("0", 0),
            (".5s", 500),
        ];
        for (text, milliseconds) in rows {
            assert_eq!(
                Duration::parse(text).unwrap().0.as_millis(),
                milliseconds,
                "{text}"
            );
        }
        assert_eq!(Duration::parse("10us").unwrap().0.as_nanos(), 10_000);
    }

    #[test]
    fn nonsense_is_named_and_shown_right() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "1x",
            "1s2",
            "..s",
            "99999999999999999999s",
            "-1s",
            "9000000h",
            "1.2.3s",
        ] {
            let error = Duration::parse(text).unwrap_err();
            assert!(error.contains(text) && error.contains('s'), "{error}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["1s", "1500ms", "1ns", "0s"] {
            let value = Duration::parse(text).unwrap();
            assert_eq!(Duration::parse(&value.to_string()).unwrap(), value);
        }
    }
}
