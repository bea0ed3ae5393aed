//! Prometheus text into samples, and the few questions that the demo and tests ask of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::bail;

use crate::verb::http;

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Series name, with `_bucket`, `_sum`, `_count` as printed.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty when absent.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Reads `/metrics` of one daemon from the calling thread's namespace.
///
/// # Errors
/// No answer, or not 200.
pub async fn scrape(address: SocketAddr) -> anyhow::Result<Vec<Sample>> {
    let response = http::get(address, "/metrics").await?;
    if response.status != 200 {
        bail!("http://{address}/metrics: {}", response.status);
    }
    Ok(parse(&response.text()))
}

/// Reads only the series of these names, which is much less work where histograms fill the page.
///
/// # Errors
/// As [`scrape`].
pub async fn scrape_families(address: SocketAddr, names: &[&str]) -> anyhow::Result<Vec<Sample>> {
    let response = http::get(address, "/metrics").await?;
    if response.status != 200 {
        bail!("http://{address}/metrics: {}", response.status);
    }
    let text = response.text();
    let wanted = |line: &&str| {
        names.iter().any(|n| {
            line.strip_prefix(n)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
    };
    Ok(text.lines().filter(wanted).filter_map(sample).collect())
}

/// Samples of a text exposition; lines that are none are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// `a="x",b="y"} rest` → labels and rest.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut found = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((found, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        rest = loop {
            match characters.next()? {
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (at, '"') => break after.get(at + 1..)?,
                (_, other) => value.push(other),
            }
        };
        found.insert(name.to_owned(), value);
    }
}

/// Sum over the samples of `name` whose labels have all of `filters`.
#[must_use]
pub fn sum(samples: &[Sample], name: &str, filters: &[(&str, &str)]) -> f64 {
    let matching = samples.iter().filter(|s| {
        s.name == name
            && filters
                .iter()
                .all(|(label, value)| s.label(label) == *value)
    });
    matching.map(|s| s.value).sum()
}

/// The q-quantile of cumulative buckets (upper bound, count), interpolated as PromQL's `histogram_quantile` does.
/// None without observations.
#[must_use]
pub fn quantile(q: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = q * total;
    let mut below = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            if bound.is_infinite() {
                return Some(below.0);
            }
            let inside = count - below.1;
            let share = if inside > 0.0 {
                (rank - below.1) / inside
            } else {
                1.0
            };
            return Some(below.0 + (bound - below.0) * share);
        }
        below = (*bound, *count);
    }
    Some(below.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_escapes_and_timestamps() {
        let text =
            "# HELP x y\nx_total{a=\"1\",b=\"q\\\"}\\n\"} 3 1700\ny 4.5\nz{} +Inf\nbroken{a=\n";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].label("b"), "q\"}\n");
        assert_eq!(sum(&found, "x_total", &[("a", "1")]), 3.0);
        assert_eq!(sum(&found, "x_total", &[("a", "2")]), 0.0);
        assert_eq!(found[2].value, f64::INFINITY);
    }

    #[test]
    fn quantiles_interpolate_as_promql() {
        let buckets = [
            (1.0, 50.0),
            (5.0, 90.0),
            (10.0, 100.0),
            (f64::INFINITY, 100.0),
        ];
        assert_eq!(quantile(0.5, &buckets), Some(1.0));
        assert_eq!(quantile(0.7, &buckets), Some(3.0));
        assert_eq!(quantile(1.0, &buckets), Some(10.0));
        assert_eq!(quantile(0.9, &[(f64::INFINITY, 0.0)]), None);
        assert_eq!(
            quantile(0.99, &[(1.0, 1.0), (f64::INFINITY, 2.0)]),
            Some(1.0)
        );
    }
}
