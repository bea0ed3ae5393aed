//! Istio's JSON form: 24 fields, snake case, null for what there is none of. Always valid UTF-8 and valid JSON (RFC 8259).

use super::{CUT, Value, address, capped, hex, number, time};

pub(super) fn line(fields: &[(&'static str, Value<'_>); 24], out: &mut Vec<u8>) {
    for (at, (name, value)) in fields.iter().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        self::value(*value, out);
    }
    out.extend_from_slice(b"}\n");
}

fn value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(b"") | Value::Maybe(None) | Value::Address(None) => {
            out.extend_from_slice(b"null")
        }
        Value::Number(value) | Value::Maybe(Some(value)) => number(value, out),
        Value::Time(millis) => quoted(out, |out| time(millis, out)),
        Value::Address(Some(value)) => quoted(out, |out| address(value, out)),
        Value::Text(text) => quoted(out, |out| escaped(text, out)),
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let (text, cut) = capped(text);
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                ' '..='~' => out.push(char as u8),
                // C0, DEL and C1: a terminal obeys them.
                '\0'..='\u{9f}' => {
                    out.extend_from_slice(b"\\u00");
                    hex(char as u8, out);
                }
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    if cut {
        out.extend_from_slice(CUT);
    }
}
