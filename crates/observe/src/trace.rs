//! Request ids, and trace contexts that others began: read to continue, never invented here.

/// Makes request ids: one source per worker, seeded differently.
#[derive(Clone, Debug)]
pub struct RequestIds {
    seed: u64,
    counter: u64,
}

/// A request id as text, in the shape of a random UUID (RFC 9562 version 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 36]);

impl RequestIds {
    /// A source; two sources with the same seed give the same ids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next id.
    pub fn next_id(&mut self) -> RequestId {
        self.counter = self.counter.wrapping_add(1);
        let high = mix(self
            .seed
            .wrapping_add(self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let low = mix(high ^ self.seed.rotate_left(32));
        // Version 4, variant 10 (RFC 9562 section 4).
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | 0b10 << 62;
        RequestId(format_uuid(high, low))
    }
}

impl RequestId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only digits, letters and dashes were written.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Mixes all bits and loses none (the finisher of splitmix64; Steele, Lea, Flood).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn format_uuid(high: u64, low: u64) -> [u8; 36] {
    let words = [high >> 32, high & 0xffff_ffff, low >> 32, low & 0xffff_ffff];
    let [a, [b, c, d, e, f, g, h, i], [j, k, l, m, n, o, p, q], z] = words.map(hex_digits);
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&[b, c, d, e]);
    text[14..18].copy_from_slice(&[f, g, h, i]);
    text[19..23].copy_from_slice(&[j, k, l, m]);
    text[24..28].copy_from_slice(&[n, o, p, q]);
    text[28..].copy_from_slice(&z);
    text
}

/// The eight digits of a 32-bit number, all at once: one nibble per byte, then `0` or `a` - 10 added to each.
fn hex_digits(number: u64) -> [u8; 8] {
    let spread = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// A trace that the client takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Trace.
    pub trace: u128,
    /// The client's span, the parent of ours.
    pub span: u64,
    /// Whether the client records the trace; none = it leaves that open.
    pub sampled: Option<bool>,
}

/// Reads `traceparent` (W3C Trace Context, section 3.2). None for what the specification calls invalid.
#[must_use]
pub fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let value = str::from_utf8(value).ok()?;
    let mut parts = value.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version = lower_hex(version, 2)?;
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    let flags = lower_hex(flags, 2)?;
    context(
        lower_hex(trace, 32)?,
        lower_hex(span, 16)?,
        Some(flags & 1 == 1),
    )
}

/// Reads the single `b3` header (OpenZipkin B3): `trace-span[-sampled[-parent]]`.
#[must_use]
pub fn b3(value: &[u8]) -> Option<TraceContext> {
    let value = str::from_utf8(value).ok()?;
    let mut parts = value.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let sampled = parts.next().and_then(b3_sampled);
    context(b3_trace(trace)?, lower_hex(span, 16)?, sampled)
}

/// Reads the values of `x-b3-traceid`, `x-b3-spanid` and, where it was sent, `x-b3-sampled`.
#[must_use]
pub fn b3_multi(trace: &[u8], span: &[u8], sampled: Option<&[u8]>) -> Option<TraceContext> {
    let text = |value| str::from_utf8(value).ok();
    let sampled = sampled.and_then(text).and_then(b3_sampled);
    context(
        b3_trace(text(trace)?)?,
        lower_hex(text(span)?, 16)?,
        sampled,
    )
}

/// 64-bit trace ids are allowed and mean the same with zeros in front.
fn b3_trace(text: &str) -> Option<u128> {
    lower_hex(text, 32).or_else(|| lower_hex(text, 16))
}

fn b3_sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn context(trace: u128, span: u128, sampled: Option<bool>) -> Option<TraceContext> {
    let span = u64::try_from(span).ok()?;
    (trace != 0 && span != 0).then_some(TraceContext {
        trace,
        span,
        sampled,
    })
}

/// Exactly `digits` hexadecimal digits in lower case.
fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if valid {
        u128::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_distinct_version_four_uuids() {
        let mut seen = HashSet::new();
        for seed in [0, 1, u64::MAX] {
            let mut ids = RequestIds::new(seed);
            for _ in 0..20_000 {
                let id = ids.next_id();
                let text = id.as_str();
                let parts: Vec<usize> = text.split('-').map(str::len).collect();
                assert_eq!(parts, [8, 4, 4, 4, 12]);
                assert!(text.bytes().all(|byte| byte == b'-'
                    || byte.is_ascii_digit()
                    || (b'a'..=b'f').contains(&byte)));
                assert_eq!(&text[14..15], "4");
                assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
                assert!(seen.insert(text.to_owned()));
            }
        }
    }

    #[test]
    fn digits_are_those_of_format() {
        for number in [0u64, 1, 0x9abc_def0, 0x1234_5678, 0xffff_ffff] {
            assert_eq!(hex_digits(number), *format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn trace_contexts_are_read_strictly() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let wanted = |sampled| {
            Some(TraceContext {
                trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                span: 0xb7ad_6b71_6920_3331,
                sampled,
            })
        };
        let w3c = |text: String| traceparent(text.as_bytes());
        assert_eq!(
            w3c(format!("00-{id}-b7ad6b7169203331-01")),
            wanted(Some(true))
        );
        assert_eq!(
            w3c(format!("00-{id}-b7ad6b7169203331-00")),
            wanted(Some(false))
        );
        assert_eq!(
            w3c(format!("01-{id}-b7ad6b7169203331-01-more")),
            wanted(Some(true))
        );
        for bad in [
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-b7ad6b7169203331"),
            format!("00-{id}-b7ad6b716920333+-01"),
            String::new(),
        ] {
            assert_eq!(w3c(bad.clone()), None, "{bad}");
        }
        assert_eq!(
            b3(format!("{id}-b7ad6b7169203331-1-05e3ac9a4f6e3b90").as_bytes()),
            wanted(Some(true))
        );
        assert_eq!(
            b3(format!("{id}-b7ad6b7169203331").as_bytes()),
            wanted(None)
        );
        assert_eq!(b3(b"0"), None);
        assert_eq!(
            b3_multi(id.as_bytes(), b"b7ad6b7169203331", Some(b"0")),
            wanted(Some(false))
        );
        assert_eq!(
            b3_multi(b"8448eb211c80319c", b"b7ad6b7169203331", None)
                .unwrap()
                .trace,
            0x8448_eb21_1c80_319c
        );
    }
}
