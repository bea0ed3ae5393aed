//! `-S CODE=OBJECT`: findings that the user does not want to see.

use std::str::FromStr;

use weft_compile::{Code, Diagnostic};

/// A code and a pattern of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suppression {
    code: String,
    /// `Kind namespace/name`, `Kind name.namespace` or either without the kind; `*` stands for any text.
    object: String,
}

impl FromStr for Suppression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (code, object) = text
            .split_once('=')
            .ok_or("write CODE=OBJECT, as in WFT0301=Service shop/db or WFT0006=*")?;
        let known =
            |other: &&Code| other.id() == code || (other.istio() == code && !code.is_empty());
        if !Code::ALL.iter().any(|other| known(&other)) {
            return Err(format!(
                "there is no code {code}; docs/reference/codes.md lists them"
            ));
        }
        Ok(Self {
            code: code.to_owned(),
            object: object.to_owned(),
        })
    }
}

impl Suppression {
    /// Whether the finding is meant.
    pub(super) fn covers(&self, finding: &Diagnostic) -> bool {
        if self.code != finding.code.id() && self.code != finding.code.istio() {
            return false;
        }
        let (kind, name) = (&finding.kind, &finding.name);
        let dotted = name.split_once('/').map_or_else(
            || name.clone(),
            |(namespace, name)| format!("{name}.{namespace}"),
        );
        let spellings = [
            format!("{kind} {name}"),
            format!("{kind} {dotted}"),
            name.clone(),
            dotted,
        ];
        spellings
            .iter()
            .any(|spelling| matches(&self.object, spelling))
    }
}

/// Whether the text fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a/b"),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*c*e", "abcde"),
            ("ab", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("*b*b", "ab"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
