//! The words of the Prometheus text format: headings, labels, samples.

use crate::catalogue::{Kind, Metric};
use crate::histogram::{BOUND_TEXT, Merged};

pub(super) fn head(metric: &Metric, kind: Kind, wanted: bool, out: &mut Vec<u8>) {
    if wanted {
        for part in [
            "# HELP ",
            metric.name,
            " ",
            metric.help,
            "\n# TYPE ",
            metric.name,
            " ",
            kind.word(),
            "\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

pub(super) fn pair(name: &str, value: &str, out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A value of a sample.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Thousandths(u64),
}

pub(super) fn histogram(
    out: &mut Vec<u8>,
    name: &str,
    labels: &[u8],
    merged: &Merged,
    buckets: bool,
) {
    if buckets {
        let mut cumulative = 0u64;
        for (count, bound) in merged
            .buckets
            .iter()
            .zip(BOUND_TEXT.iter().chain(&["+Inf"]))
        {
            cumulative = cumulative.wrapping_add(*count);
            sample(
                out,
                name,
                "_bucket",
                labels,
                Some(bound),
                Number::Whole(cumulative),
            );
        }
    }
    sample(
        out,
        name,
        "_sum",
        labels,
        None,
        Number::Thousandths(merged.sum),
    );
    sample(
        out,
        name,
        "_count",
        labels,
        None,
        Number::Whole(merged.count()),
    );
}

pub(super) fn sample(
    out: &mut Vec<u8>,
    name: &str,
    suffix: &str,
    labels: &[u8],
    bound: Option<&str>,
    value: Number,
) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    if !labels.is_empty() {
        out.push(b'{');
        out.extend_from_slice(labels);
        if let Some(bound) = bound {
            out.extend_from_slice(b",le=\"");
            out.extend_from_slice(bound.as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
    }
    out.push(b' ');
    let mut number = itoa::Buffer::new();
    match value {
        Number::Whole(value) => out.extend_from_slice(number.format(value).as_bytes()),
        Number::Thousandths(value) => {
            out.extend_from_slice(number.format(value / 1000).as_bytes());
            let rest = value % 1000;
            if rest > 0 {
                // 1000 in front keeps the leading zeros of the fraction.
                let digits = number.format(1000 + rest);
                out.push(b'.');
                out.extend_from_slice(digits.get(1..).unwrap_or_default().as_bytes());
            }
        }
    }
    out.push(b'\n');
}
