//! Istio's default line. Everything outside visible ASCII is written as `\xHH`: the line is read in terminals.

use super::{CUT, Value, address, capped, hex, number, time};

/// Fields that stand between quotes; method, path and protocol share one pair.
const QUOTED: [&str; 5] = [
    "upstream_transport_failure_reason",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
];

pub(super) fn line(fields: &[(&'static str, Value<'_>); 24], out: &mut Vec<u8>) {
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        let (before, after): (&[u8], &[u8]) = match *name {
            "start_time" => (b"[", b"]"),
            "method" => (b"\"", b""),
            "protocol" => (b"", b"\""),
            "upstream_host" => (b"\"", b"\""),
            name if QUOTED.contains(&name) => (b"\"", b"\""),
            _ => (b"", b""),
        };
        out.extend_from_slice(before);
        self::value(*value, *name == "user_agent", out);
        out.extend_from_slice(after);
    }
    out.push(b'\n');
}

fn value(value: Value<'_>, spaces: bool, out: &mut Vec<u8>) {
    match value {
        Value::Time(millis) => time(millis, out),
        Value::Text(b"") | Value::Maybe(None) | Value::Address(None) => out.push(b'-'),
        Value::Text(text) => escaped(text, spaces, out),
        Value::Number(value) | Value::Maybe(Some(value)) => number(value, out),
        Value::Address(Some(value)) => address(value, out),
    }
}

/// A space separates fields, so only a field that is always quoted and often has them may keep its own.
fn escaped(text: &[u8], spaces: bool, out: &mut Vec<u8>) {
    let (text, cut) = capped(text);
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' ' if spaces => out.push(byte),
            b'!'..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\x");
                hex(byte, out);
            }
        }
    }
    if cut {
        out.extend_from_slice(CUT);
    }
}
