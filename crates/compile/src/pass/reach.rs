//! Rules and matches that can never be reached, because an earlier one holds whenever they would.

use std::collections::BTreeMap;

use weft_model::matcher::{RequestMatch, StringMatch};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::routes::Lowered;

/// Most matches that are compared with each other; a longer list is not checked.
const MAX_COMPARED: usize = 1000;

/// Findings about what is out of reach.
pub(crate) fn lint(rules: &[Lowered], subject: Subject<'_>, findings: &mut Findings) {
    let everything = RequestMatch::default();
    let mut earlier: Vec<(String, &RequestMatch)> = Vec::new();
    for lowered in rules {
        let field = format!("spec.http[{}]", lowered.index);
        let own: Vec<(String, &RequestMatch)> = match lowered.rule.matches.as_slice() {
            [] => vec![(field.clone(), &everything)],
            list => list
                .iter()
                .enumerate()
                .map(|(n, m)| (format!("{field}.match[{n}]"), m))
                .collect(),
        };
        let before = earlier.len();
        if before + own.len() > MAX_COMPARED {
            return;
        }
        let mut unreached = Vec::new();
        for (place, condition) in own {
            if let Some((by, _)) = earlier.iter().find(|(_, other)| covers(other, condition)) {
                unreached.push((place.clone(), by.clone()));
            }
            earlier.push((place, condition));
        }
        report(
            &field,
            earlier.len() - before,
            &unreached,
            subject,
            findings,
        );
    }
}

fn report(
    field: &str,
    matches: usize,
    unreached: &[(String, String)],
    subject: Subject<'_>,
    findings: &mut Findings,
) {
    // A match covered by another of its own rule is superfluous, but the rule itself is reached.
    let by_earlier_rules = unreached
        .iter()
        .filter(|(_, by)| by != field && !is_part_of(by, field))
        .count();
    if by_earlier_rules == matches {
        let by = unreached
            .first()
            .map(|(_, by)| by.as_str())
            .unwrap_or_default();
        let message = format!("{by} matches all of it before; move this rule up");
        findings.add(Code::UnreachableRule, subject, field, message);
        return;
    }
    for (place, by) in unreached {
        findings.add(
            Code::IneffectiveMatch,
            subject,
            place,
            format!("{by} matches all of it before; remove it or move it up"),
        );
    }
}

fn is_part_of(place: &str, field: &str) -> bool {
    place
        .strip_prefix(field)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Whether `wide` holds for every request for which `narrow` does. Says no when in doubt.
pub(crate) fn covers(wide: &RequestMatch, narrow: &RequestMatch) -> bool {
    path_covers(wide, narrow)
        && option_covers(wide.scheme.as_ref(), narrow.scheme.as_ref())
        && option_covers(wide.method.as_ref(), narrow.method.as_ref())
        && option_covers(wide.authority.as_ref(), narrow.authority.as_ref())
        && all_covered(&wide.headers, &narrow.headers)
        && all_covered(&wide.query, &narrow.query)
        && wide
            .without_headers
            .iter()
            .all(|(name, text)| narrow.without_headers.get(name) == Some(text))
        && wide
            .source_labels
            .iter()
            .all(|(key, value)| narrow.source_labels.get(key) == Some(value))
        && (wide.port.is_none() || wide.port == narrow.port)
        && (wide.source_namespace.is_none() || wide.source_namespace == narrow.source_namespace)
}

fn path_covers(wide: &RequestMatch, narrow: &RequestMatch) -> bool {
    // Every canonical path begins with a slash.
    if matches!(&wide.path, Some(StringMatch::Prefix(prefix)) if prefix.is_empty() || prefix == "/")
    {
        return true;
    }
    match (&wide.path, &narrow.path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(one), Some(two)) if wide.ignore_path_case => {
            text_covers(&lower_case(one), &lower_case(two))
        }
        (Some(one), Some(two)) => !narrow.ignore_path_case && text_covers(one, two),
    }
}

fn lower_case(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_ascii_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_ascii_lowercase()),
        StringMatch::PathPrefix(text) => StringMatch::PathPrefix(text.to_ascii_lowercase()),
        other @ (StringMatch::Regex(_) | StringMatch::Present) => other.clone(),
    }
}

fn option_covers(wide: Option<&StringMatch>, narrow: Option<&StringMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => text_covers(wide, narrow),
    }
}

fn all_covered(
    wide: &BTreeMap<String, StringMatch>,
    narrow: &BTreeMap<String, StringMatch>,
) -> bool {
    wide.iter().all(|(name, text)| {
        narrow
            .get(name)
            .is_some_and(|other| text_covers(text, other))
    })
}

fn text_covers(wide: &StringMatch, narrow: &StringMatch) -> bool {
    match (wide, narrow) {
        (StringMatch::Present, _) => true,
        (StringMatch::Prefix(prefix), StringMatch::Exact(text) | StringMatch::Prefix(text)) => {
            text.starts_with(prefix)
        }
        (StringMatch::Regex(any), _) if any == ".*" => true,
        _ => wide == narrow,
    }
}
