//! Regular expressions and substitutions, checked as the proxy will read them, so that it never meets a broken one.
//!
//! A pattern is checked alone before it is anchored: `a)|(?:b` is no expression, though it becomes one in brackets.

use regex::bytes::{Regex, RegexBuilder};

/// Longest expression that is taken, in bytes.
const MAX_BYTES: usize = 1024;
/// Largest compiled expression, in bytes; the proxy has the same limit.
const MAX_PROGRAM: usize = 1 << 20;

/// Checks an expression that must match a whole text.
pub(crate) fn whole(pattern: &str) -> Result<(), String> {
    build(pattern)?;
    build_within_limits(&format!("\\A(?:{pattern}\n)\\z"))
        .map(drop)
        .map_err(|error| explain(pattern, &error))
}

/// Checks an expression that may match anywhere and what is put in its place: `\1` for groups, `\\` for a backslash.
pub(crate) fn substitution(pattern: &str, text: &str) -> Result<(), String> {
    let groups = build(pattern)?.captures_len();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some('\\') => {}
            Some(digit)
                if digit
                    .to_digit(10)
                    .is_some_and(|digit| (digit as usize) < groups) => {}
            Some(digit) if digit.is_ascii_digit() => {
                return Err(format!(
                    "\\{digit} names a group that \"{pattern}\" does not have; it has {}",
                    groups - 1
                ));
            }
            _ => return Err("a backslash needs a digit or a backslash after it".to_owned()),
        }
    }
    Ok(())
}

fn build(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_BYTES {
        return Err(format!(
            "the expression has {} bytes, more than {MAX_BYTES}; shorten it",
            pattern.len()
        ));
    }
    build_within_limits(pattern).map_err(|error| explain(pattern, &error))
}

/// RE2's classes know ASCII only, so Unicode is switched on only for expressions that need it.
fn build_within_limits(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |unicode| {
        RegexBuilder::new(pattern)
            .unicode(unicode)
            .size_limit(MAX_PROGRAM)
            .build()
    };
    build(false).or_else(|_| build(true))
}

/// The library draws a picture over several lines; the last says what is wrong.
fn explain(pattern: &str, error: &regex::Error) -> String {
    let text = match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("it needs more than {limit} bytes when compiled")
        }
        other => other.to_string(),
    };
    let reason = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let reason = reason.trim().trim_start_matches("error: ");
    let hint = if pattern.starts_with('*') {
        "; for any text write .*"
    } else {
        ""
    };
    format!("\"{pattern}\" is no regular expression (RE2): {reason}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_cannot_make_an_expression_of_what_is_none() {
        for right in [
            "",
            ".*",
            "a|b",
            "^/v[0-9]+$",
            "(?x) a # comment",
            "\\w{100}",
            "\\p{Greek}",
            "ü",
        ] {
            assert_eq!(whole(right), Ok(()), "{right}");
        }
        for wrong in ["(", "a)|(?:b", "*", "(?!x)", "(a)\\1", "a{100000}"] {
            assert!(whole(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn substitutions_name_groups_that_exist() {
        for right in ["", "/", "\\1", "\\0\\\\"] {
            assert_eq!(substitution("(a)b", right), Ok(()), "{right}");
        }
        for wrong in ["\\2", "\\", "\\x"] {
            assert!(substitution("(a)b", wrong).is_err(), "{wrong}");
        }
    }
}
