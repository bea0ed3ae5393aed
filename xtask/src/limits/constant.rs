//! Reads constants out of source text: name, doc, and a value that can be printed for people. It understands the few
//! forms in which limits are written here; a form that it does not know is printed as it stands.

use std::time::Duration;

/// A documented constant, or a field of a `Limits` struct with its default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) value: Value,
}

/// What a limit is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Time(Duration),
    Number(u64),
    /// No bound.
    Unbounded,
    /// An expression of another form.
    Text(String),
}

impl Value {
    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// For a table; `doc` tells bytes from counts.
    pub(crate) fn display(&self, doc: &str) -> String {
        match self {
            Self::Time(time) => display_time(*time),
            Self::Number(number) => display_number(*number, doc),
            Self::Unbounded => "none".to_owned(),
            Self::Text(text) => format!("`{text}`"),
        }
    }
}

fn display_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match time.as_millis() {
        0 => format!("{} µs", time.as_micros()),
        millis if !millis.is_multiple_of(1000) => format!("{millis} ms"),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) && seconds > 60 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn display_number(number: u64, doc: &str) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let doc = doc.to_lowercase();
    let bytes = ["byte", "size", "buffer", "packet", "message"]
        .iter()
        .any(|word| doc.contains(word));
    match number {
        _ if !bytes || number < KIB || !number.is_multiple_of(KIB) => group(number),
        _ if number.is_multiple_of(GIB) => format!("{} GiB", number / GIB),
        _ if number.is_multiple_of(MIB) => format!("{} MiB", number / MIB),
        _ => format!("{} KiB", number / KIB),
    }
}

/// 50000 → 50,000.
fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// All constants of a file up to its tests, and the fields of `Limits` where it has one.
pub(crate) fn constants(source: &str) -> Vec<Constant> {
    let mut found: Vec<Constant> = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    let mut lines = source
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    while let Some(line) = lines.next() {
        let code = line.trim();
        if let Some(text) = code.strip_prefix("///") {
            doc.push(text.trim());
            continue;
        }
        if code.starts_with("#[") {
            continue;
        }
        let mut statement = code.to_owned();
        // Constants inside functions are details of an algorithm.
        if is_constant(line) {
            while !statement.ends_with(';') {
                let Some(next) = lines.next() else { break };
                statement.push(' ');
                statement.push_str(next.trim());
            }
        }
        if is_constant(line)
            && let Some((name, kind, value)) = parse(&statement)
            && is_measure(kind)
        {
            let value = evaluate(value, &found);
            found.push(Constant {
                name: name.to_owned(),
                doc: sentence(&doc),
                value,
            });
        }
        doc.clear();
    }
    let limits = limits_struct(source, &found);
    found.extend(limits);
    found
}

fn is_constant(code: &str) -> bool {
    [
        "const ",
        "pub const ",
        "pub(crate) const ",
        "pub(super) const ",
    ]
    .iter()
    .any(|start| code.starts_with(start))
}

/// `… const NAME: KIND = VALUE;`
fn parse(statement: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = statement.split_once("const ")?;
    let (name, rest) = rest.split_once(':')?;
    let (kind, value) = rest.split_once('=')?;
    Some((name.trim(), kind.trim(), value.trim().trim_end_matches(';')))
}

fn is_measure(kind: &str) -> bool {
    ["Duration", "usize", "u64", "u32", "u16", "u8", "i32"].contains(&kind)
        || kind.ends_with("::Duration")
}

/// The first sentence or two: doc lines up to the first empty one.
fn sentence(doc: &[&str]) -> String {
    doc.iter()
        .take_while(|line| !line.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Fields of `pub struct Limits` with their docs, and the values of `impl Default`.
fn limits_struct(source: &str, known: &[Constant]) -> Vec<Constant> {
    let section = |start: &str, end: &str| {
        let (_, rest) = source.split_once(start)?;
        rest.split_once(end).map(|(section, _)| section)
    };
    let (Some(fields), Some(defaults)) = (
        section("pub struct Limits {", "\n}"),
        section("impl Default for Limits {", "\n}"),
    ) else {
        return Vec::new();
    };
    let mut doc: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in fields.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
            continue;
        }
        let name = line
            .strip_prefix("pub ")
            .and_then(|line| line.split_once(':'));
        if let Some((name, _)) = name {
            let value = defaults.lines().find_map(|line| {
                line.trim()
                    .strip_prefix(name)?
                    .strip_prefix(": ")?
                    .strip_suffix(',')
            });
            let value = value.map_or(Value::Unbounded, |value| evaluate(value, known));
            found.push(Constant {
                name: name.to_owned(),
                doc: sentence(&doc),
                value,
            });
        }
        doc.clear();
    }
    found
}

fn evaluate(text: &str, known: &[Constant]) -> Value {
    let time = |unit: &str, factor: fn(u64) -> Duration| {
        let (before, rest) = text.split_once(unit)?;
        let inner = rest.strip_suffix(')')?;
        before
            .ends_with("Duration::")
            .then_some(Value::Time(factor(number(inner, known)?)))
    };
    time("from_secs(", Duration::from_secs)
        .or_else(|| time("from_millis(", Duration::from_millis))
        .or_else(|| time("from_micros(", Duration::from_micros))
        .or_else(|| text.ends_with("::MAX").then_some(Value::Unbounded))
        .or_else(|| number(text, known).map(Value::Number))
        .unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// Sums and products of literals and of constants seen before.
fn number(text: &str, known: &[Constant]) -> Option<u64> {
    for (sign, apply) in [
        (" - ", u64::checked_sub as fn(u64, u64) -> Option<u64>),
        (" + ", u64::checked_add),
        (" << ", |a, b| a.checked_shl(u32::try_from(b).ok()?)),
        (" * ", u64::checked_mul),
    ] {
        if let Some((left, right)) = text.rsplit_once(sign) {
            return apply(number(left, known)?, number(right, known)?);
        }
    }
    let text = text.trim();
    if let Some(value) = known.iter().find(|constant| constant.name == text) {
        return match value.value {
            Value::Number(number) => Some(number),
            Value::Time(_) | Value::Unbounded | Value::Text(_) => None,
        };
    }
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::constants;

    fn shown(source: &str) -> Vec<(String, String, String)> {
        let shown = |c: &super::Constant| (c.name.clone(), c.value.display(&c.doc), c.doc.clone());
        constants(source).iter().map(shown).collect()
    }

    #[test]
    fn numbers_times_and_references_are_understood() {
        let source = "
/// Bytes of a head.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// Waiting for one.
const WAIT_TIMEOUT: Duration = Duration::from_millis(3);
/// Idle for
/// long.
const IDLE: Duration =
    Duration::from_secs(3600);
/// Pods.
const MAX_PODS: usize = 50_000;
/// Bytes, less a margin.
const PART: usize = MAX_HEAD - 1024;
const NAME: &str = \"x\";
#[cfg(test)]
mod tests { const MAX_IN_TESTS: usize = 1; }
";
        let shown = shown(source);
        let values: Vec<&str> = shown.iter().map(|(_, value, _)| value.as_str()).collect();
        assert_eq!(values, ["64 KiB", "3 ms", "1 h", "50,000", "63 KiB"]);
        assert_eq!(shown[2].2, "Idle for long.");
    }

    #[test]
    fn a_limits_struct_is_read_with_its_defaults() {
        let source = "
pub struct Limits {
    /// Bytes of a head.
    pub head: usize,
    /// Bytes of a body.
    pub body: u64,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 2 * 1024,
            body: u64::MAX,
        }
    }
}
";
        let shown = shown(source);
        assert_eq!(
            shown[0],
            ("head".into(), "2 KiB".into(), "Bytes of a head.".into())
        );
        assert_eq!(shown[1].1, "none");
    }
}
