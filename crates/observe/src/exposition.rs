//! A strict reader of the Prometheus text format, for tests: what it takes, promtool and every scraper take.

use std::collections::{BTreeMap, BTreeSet};

/// One family.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// One sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Reads an exposition or panics with what is wrong.
pub(crate) fn parse(text: &[u8]) -> BTreeMap<String, Family> {
    let text = std::str::from_utf8(text).expect("UTF-8");
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line ends"
    );
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("help has words");
            assert!(!words.is_empty() && is_name(name), "{line}");
            assert!(
                families
                    .insert(name.to_owned(), Family::default())
                    .is_none(),
                "family {name} comes twice"
            );
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("type has a word");
            assert_eq!(name, current, "type follows help");
            let family = families.get_mut(name).unwrap();
            assert!(
                family.kind.is_empty() && family.samples.is_empty(),
                "{line}"
            );
            assert!(
                ["counter", "gauge", "histogram", "summary"].contains(&kind),
                "{line}"
            );
            family.kind = kind.to_owned();
        } else {
            let sample = sample(line);
            let family = families
                .get_mut(&current)
                .expect("a family before its samples");
            let suffix = sample
                .name
                .strip_prefix(&current)
                .unwrap_or_else(|| panic!("{line} stands in {current}"));
            let allowed: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(
                seen.insert((sample.name.clone(), sample.labels.clone())),
                "series comes twice: {line}"
            );
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        assert!(
            !family.kind.is_empty() && !family.samples.is_empty(),
            "{name} is empty"
        );
        if family.kind == "histogram" {
            check_histogram(name, &family.samples);
        }
    }
    families
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name and a value");
    let (name, rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest, line),
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').expect("one space before the value");
    assert!(!value.contains(' '), "{line}");
    Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().expect("a number"),
    }
}

fn labels<'l>(mut rest: &'l str, line: &str) -> (BTreeMap<String, String>, &'l str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("name=\"value\"");
        assert!(is_name(name), "{name} in {line}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("the value ends") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                    'n' => '\n',
                    plain @ ('\\' | '"') => plain,
                    other => panic!("\\{other} in {line}"),
                }),
                (_, plain) => value.push(plain),
            }
        };
        assert!(!value.is_empty(), "label {name} is empty: {line}");
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "label {name} comes twice: {line}"
        );
        rest = &after[end + 1..];
        match rest.as_bytes().first() {
            Some(b',') => rest = &rest[1..],
            Some(b'}') => return (labels, &rest[1..]),
            _ => panic!("{line}"),
        }
    }
}

fn check_histogram(name: &str, samples: &[Sample]) {
    let mut series = BTreeMap::<BTreeMap<String, String>, Vec<&Sample>>::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        series.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in series {
        let of = |suffix: &str| {
            samples
                .iter()
                .filter(|sample| sample.name == format!("{name}{suffix}"))
                .collect::<Vec<_>>()
        };
        let (buckets, sum, count) = (of("_bucket"), of("_sum"), of("_count"));
        assert!(sum.len() == 1 && count.len() == 1, "{name} {labels:?}");
        let mut before = (f64::NEG_INFINITY, 0.0);
        for bucket in &buckets {
            let bound = match bucket.labels["le"].as_str() {
                "+Inf" => f64::INFINITY,
                text => text.parse().unwrap(),
            };
            assert!(
                bound > before.0 && bucket.value >= before.1,
                "{name} {labels:?}"
            );
            before = (bound, bucket.value);
        }
        assert_eq!(before, (f64::INFINITY, count[0].value), "{name} {labels:?}");
    }
}
