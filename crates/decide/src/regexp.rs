//! Regular expressions of users, with RE2's meaning and hard limits.
//!
//! A pattern is parsed alone before it is anchored: otherwise `a)|(?:b` would become a valid pattern that matches more
//! than its author wrote (hardening V43). Linear time comes from the engine, bounded memory from the limits here.

use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern in bytes.
pub(crate) const MAX_PATTERN: usize = 4096;
/// Largest compiled program in bytes.
pub(crate) const MAX_PROGRAM: usize = 1 << 20;
/// Largest cache of the lazy automaton in bytes, one per thread that uses the pattern.
pub(crate) const MAX_CACHE: usize = 1 << 20;

/// Compiles a pattern that may match anywhere.
///
/// # Errors
/// What is wrong with the pattern, in one line.
pub(crate) fn unanchored(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!(
            "pattern has {} bytes, at most {MAX_PATTERN} are allowed",
            pattern.len()
        ));
    }
    compile(pattern)
}

/// Compiles a pattern that must match the whole text.
///
/// # Errors
/// What is wrong with the pattern, in one line.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    unanchored(pattern)?;
    // A comment at the end of a verbose pattern would swallow the bracket; the line break ends it.
    compile(&format!(r"\A(?:{pattern})\z")).or_else(|_| compile(&format!("\\A(?:{pattern}\n)\\z")))
}

/// RE2's `\w`, `\d`, `\s` and `\b` know ASCII only, so Unicode is switched on only for patterns that need it.
fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |unicode: bool| {
        RegexBuilder::new(pattern)
            .unicode(unicode)
            .size_limit(MAX_PROGRAM)
            .dfa_size_limit(MAX_CACHE)
            .build()
    };
    build(false)
        .or_else(|_| build(true))
        .map_err(|error| one_line(&error))
}

/// The engine draws a picture over several lines; its last line says what is wrong.
fn one_line(error: &regex::Error) -> String {
    let text = match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("pattern needs more than {limit} bytes when compiled")
        }
        other => other.to_string(),
    };
    text.lines()
        .next_back()
        .unwrap_or_default()
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}

/// A pattern that is only text, or text followed by `.*`: answered without the engine.
pub(crate) enum Plain<'p> {
    /// The text itself.
    Exact(&'p str),
    /// Begins with the text. Paths and header values hold no line break, which `.` would refuse.
    Prefix(&'p str),
}

/// Recognises [`Plain`] patterns.
pub(crate) fn plain(pattern: &str) -> Option<Plain<'_>> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let literal = |text: &str| {
        text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'/' | b'-' | b'_' | b' ' | b':' | b'@' | b'%' | b'=' | b','
                )
        })
    };
    match pattern.strip_suffix(".*") {
        Some(text) if literal(text) => Some(Plain::Prefix(text)),
        None if literal(pattern) => Some(Plain::Exact(pattern)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        whole(pattern).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn a_pattern_matches_the_whole_text_only() {
        assert!(matches("a|ab", "ab"));
        assert!(!matches("a|b", "ab"));
        assert!(!matches("a", "a\n"));
        assert!(matches("^/v[12]/.*$", "/v1/x"));
        assert!(matches("(?x) a b # note", "ab"));
        assert!(matches("(?i)jason", "JaSoN"));
    }

    #[test]
    fn a_pattern_cannot_escape_its_anchors() {
        assert!(whole("a)|(?:b").is_err());
        assert!(whole("a)|.*(?:").is_err());
    }

    #[test]
    fn classes_are_ascii_as_in_re2_unless_the_pattern_asks_for_more() {
        assert!(!matches(r"\d", "٣"));
        assert!(matches(r"\p{Nd}", "٣"));
        assert!(matches("ü.*", "über"));
    }

    #[test]
    fn large_programs_and_long_patterns_are_refused_with_a_reason() {
        assert!(whole(r"(\pL{1000}){1000}").unwrap_err().contains("bytes"));
        assert!(
            whole(&"a".repeat(MAX_PATTERN + 1))
                .unwrap_err()
                .contains("4096")
        );
        assert!(!whole("(").unwrap_err().contains('\n'));
    }

    #[test]
    fn plain_patterns_mean_the_same_as_the_engine() {
        for (pattern, text) in [
            ("/a/b", "/a/b"),
            ("/a/b", "/a/bc"),
            ("/a.*", "/abc"),
            ("/a.*", "/b"),
            (".*", ""),
            ("^x$", "x"),
            ("^x.*$", "xy"),
        ] {
            let quick = match plain(pattern).unwrap() {
                Plain::Exact(value) => text == value,
                Plain::Prefix(value) => text.starts_with(value),
            };
            assert_eq!(quick, matches(pattern, text), "{pattern} on {text}");
        }
        for pattern in [
            "a.b", "a+", "(a)", "a|b", "[a]", r"a\.b", "a*", "a.*b", "a?.*",
        ] {
            assert!(plain(pattern).is_none(), "{pattern}");
        }
    }
}
